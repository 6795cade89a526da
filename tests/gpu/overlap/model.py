"""A decoder in the shape of Qwen2.5-0.5B, random weights, a static KV cache, in plain PyTorch: some 17 kernels a layer.
It makes tokens that mean nothing; only its kernels matter. On a CPU it is tiny."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    vocabulary: int

    @property
    def group(self):
        """Query heads of one KV head."""
        return self.heads // self.kv_heads


QWEN_05B = Shape(24, 896, 14, 2, 64, 4864, 151936)
TINY = Shape(2, 64, 4, 2, 16, 128, 1000)


class Layer:
    """The weights of one layer."""

    def __init__(self, shape, random):
        mixed = (shape.heads + 2 * shape.kv_heads) * shape.head
        self.before, self.after = random(shape.hidden) + 1, random(shape.hidden) + 1
        self.qkv, self.bias = random(shape.hidden, mixed), random(mixed)
        self.out = random(shape.heads * shape.head, shape.hidden)
        self.gate_up = random(shape.hidden, 2 * shape.intermediate)
        self.down = random(shape.intermediate, shape.hidden)


class Decoder:
    """The model, and the state of its `rows`: each one sequence of up to `context` tokens."""

    def __init__(self, rows, context, cpu=False, graphs=True):
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        self.shape, self.rows, self.context = (TINY if cpu else QWEN_05B), rows, context
        self.device, self.dtype = ("cpu", torch.float32) if cpu else ("cuda", torch.bfloat16)
        random = lambda *sizes: (torch.randn(*sizes, device=self.device) * 0.02).to(self.dtype)
        self.embedding, self.norm = random(self.shape.vocabulary, self.shape.hidden), random(self.shape.hidden) + 1
        self.layers = [Layer(self.shape, random) for _ in range(self.shape.layers)]
        size = (self.shape.layers, rows, self.shape.kv_heads, context, self.shape.head)
        self.keys, self.values = (torch.zeros(size, device=self.device, dtype=self.dtype) for _ in range(2))
        self.tokens, self.positions = (torch.zeros(rows, device=self.device, dtype=torch.long) for _ in range(2))
        self.row = torch.arange(rows, device=self.device)
        self.places = torch.arange(context, device=self.device)
        self.cos, self.sin = self._turns()
        self.graphs, self.pool = {} if graphs and not cpu else None, None

    def _turns(self):
        """Rotary embedding: x * cos + (x rolled by half) * sin, with the sign in `sin`."""
        half = torch.arange(0, self.shape.head, 2, device=self.device) / self.shape.head
        angles = torch.outer(self.places.float(), 1e6**-half)
        sin = torch.sin(angles)
        return torch.cos(angles).repeat(1, 2).to(self.dtype), torch.cat((-sin, sin), -1).to(self.dtype)

    def _forward(self, x, cos, sin, attend):
        """All layers over x (n, hidden), in place; `attend` is given layer, queries, keys and values (n, heads, head)."""
        heads, kv_heads, size = self.shape.heads, self.shape.kv_heads, (self.shape.hidden,)
        for number, layer in enumerate(self.layers):
            mixed = torch.addmm(layer.bias, F.rms_norm(x, size, layer.before, 1e-6), layer.qkv)
            mixed = mixed.view(len(x), heads + 2 * kv_heads, self.shape.head)
            turned = mixed[:, : heads + kv_heads]
            turned = torch.addcmul(turned * cos, turned.roll(self.shape.head // 2, -1), sin)
            x.addmm_(attend(number, turned[:, :heads], turned[:, heads:], mixed[:, heads + kv_heads :]), layer.out)
            gate, up = (F.rms_norm(x, size, layer.after, 1e-6) @ layer.gate_up).chunk(2, -1)
            x.addmm_(F.silu(gate) * up, layer.down)
        return F.rms_norm(x, size, self.norm, 1e-6)

    def _next(self, x):
        return (x @ self.embedding.T).argmax(-1)

    def prefill(self, row, tokens, start=0):
        """Takes these prompt tokens of a row in, from position `start` on: the next token, once the GPU has it."""
        count, end = len(tokens), start + len(tokens)

        def attend(number, queries, keys, values):
            kept = []
            for cache, new in ((self.keys, keys), (self.values, values)):
                cache[number, row, :, start:end] = new.transpose(0, 1)
                kept.append(cache[number, row, :, :end].repeat_interleave(self.shape.group, 0).unsqueeze(0))
            mask = None if start == 0 else torch.ones(count, end, device=self.device, dtype=torch.bool).tril(start)
            queries = queries.transpose(0, 1).unsqueeze(0)
            out = F.scaled_dot_product_attention(queries, *kept, attn_mask=mask, is_causal=start == 0)
            return out[0].transpose(0, 1).flatten(1)

        x = F.embedding(torch.tensor(tokens, device=self.device), self.embedding)
        x = self._forward(x, self.cos[start:end, None], self.sin[start:end, None], attend)
        token = self._next(x[-1:])
        self.tokens[row : row + 1].copy_(token)
        self.positions[row] = end
        return token.item()

    def _step(self, rows, length):
        """The next token of the first `rows` rows, attending to the first `length` positions."""
        shape, tokens, positions = self.shape, self.tokens[:rows], self.positions[:rows]
        pairs = rows * shape.kv_heads
        mask = torch.zeros(rows, 1, 1, length, device=self.device, dtype=self.dtype)
        mask = mask.masked_fill(self.places[:length] > positions[:, None, None, None], float("-inf"))
        mask = mask.expand(rows, shape.kv_heads, 1, length).reshape(pairs, 1, length)

        def attend(number, queries, keys, values):
            kept = []
            for cache, new in ((self.keys[number], keys), (self.values[number], values)):
                cache.permute(0, 2, 1, 3).index_put_((self.row[:rows], positions), new)
                kept.append(cache[:rows, :, :length].reshape(pairs, length, shape.head))
            queries = queries.reshape(pairs, shape.group, shape.head)
            scores = torch.baddbmm(mask, queries, kept[0].transpose(1, 2), alpha=shape.head**-0.5)
            return torch.bmm(scores.softmax(-1), kept[1]).view(rows, shape.heads * shape.head)

        x = F.embedding(tokens, self.embedding)
        x = self._forward(x, self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1), attend)
        tokens.copy_(self._next(x))
        positions.add_(1).clamp_(max=self.context - 1)

    def capture(self, rows, length):
        """Keeps a CUDA graph of that step. Before anything is served: it spoils the state of all rows."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._step(rows, length)
            self._step(rows, length)
        side.synchronize()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        self.graphs[rows, length] = graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self._step(rows, length)
        self.positions.zero_()

    def step(self, rows, length):
        """One decode step of the first `rows` rows over at least `length` positions: their tokens, as a list."""
        if self.graphs is None:
            self._step(rows, min(self.context, -(-length // 128) * 128))
        else:
            large_enough = [key for key in self.graphs if key[0] >= rows and key[1] >= length]
            self.graphs[min(large_enough)].replay()
        return self.tokens[:rows].tolist()  # waits for the GPU
