// A client with known kernels: each writes its own start and end, by the GPU's own clock, into a ring that becomes a
// file. Kernels of a chosen length keep it busy for a chosen share of time. It judges nothing.
//
//   nvcc -O2 -std=c++17 -arch=sm_90 -o kernels kernels.cu
//   g++ -x c++ -DWITHOUT_CUDA -std=c++17 -Wall -o kernels kernels.cu -ldl        (no GPU: the plumbing alone)
//
// It says one JSON line when it is ready, one for every `run SECONDS` on its stdin, and one after stdin's end.
// The ring's file: start and end of each kernel, u64 in the machine's order, nanoseconds of the GPU's clock.

#ifndef WITHOUT_CUDA
#include <cuda_runtime.h>
#else
#include <dlfcn.h>
#endif

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

struct Arguments {
    double length_us = 100; // of a kernel
    double busy = 0.5;      // share of time; 1: back to back, with some bursts in flight
    int burst = 1;          // kernels queued together, before the next gap
    bool graph = false;     // each burst is one CUDA graph
    int blocks = 8;         // one an SM, as long as there are that many
    uint64_t capacity = 1 << 20;
    unsigned seed = 1;
    std::string ring; // the file; empty: kernels write no times
};

static Arguments arguments;

static uint64_t realtime() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static double monotonic() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

// ---------------------------------------------------------------- the GPU, or what stands in for it

namespace gpu {

// A moment of the GPU's clock, and of CLOCK_REALTIME right before and after it.
struct Bracket {
    uint64_t before, gpu, after;
};

#ifndef WITHOUT_CUDA

static void check(cudaError_t code) {
    if (code == cudaSuccess) return;
    fprintf(stderr, "kernels: CUDA error %d: %s\n", code, cudaGetErrorString(code));
    _exit(1);
}

__device__ uint64_t clock_now() {
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

struct Ring {
    unsigned long long *starts, *ends; // null: no times are written
    volatile uint64_t *base;           // where a burst's first kernel writes
    uint64_t capacity;
};

// Runs for `ns` and writes its times: the first block to start, the last one to end. The last kernel of a burst moves
// the base on; by then every block has read it.
__global__ void timed(uint64_t ns, Ring ring, uint64_t place, uint64_t advance) {
    if (threadIdx.x == 0) {
        uint64_t from = clock_now(), now;
        uint64_t at = *ring.base + place;
        bool written = ring.starts && at < ring.capacity;
        if (written) atomicMin(&ring.starts[at], from);
        do now = clock_now();
        while (now - from < ns);
        if (advance && blockIdx.x == 0) *ring.base = at - place + advance;
        if (written) atomicMax(&ring.ends[at], clock_now());
    }
    __syncthreads();
}

__global__ void read_clock(uint64_t *into) { *into = clock_now(); }

// The smallest step of the clock that is seen in many readings.
__global__ void read_step(uint64_t *into) {
    uint64_t step = UINT64_MAX, before = clock_now();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_now();
        if (now != before && now - before < step) step = now - before;
        before = now;
    }
    *into = step;
}

constexpr int IN_FLIGHT = 8; // bursts, where they run back to back
static cudaStream_t stream;
static cudaGraphExec_t graph;
static cudaEvent_t ended[IN_FLIGHT];
static Ring ring;
static uint64_t *told; // host memory that the GPU writes

static void launch_burst() {
    uint64_t ns = static_cast<uint64_t>(arguments.length_us * 1000);
    for (int i = 0; i < arguments.burst; i++) {
        uint64_t advance = i + 1 == arguments.burst ? arguments.burst : 0;
        timed<<<arguments.blocks, 128, 0, stream>>>(ns, ring, i, advance);
    }
    check(cudaGetLastError());
}

static void capture() {
    cudaGraph_t captured;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch_burst();
    check(cudaStreamEndCapture(stream, &captured));
    check(cudaGraphInstantiate(&graph, captured, 0));
}

static void open() {
    check(cudaSetDeviceFlags(cudaDeviceScheduleSpin));
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (auto &event : ended) check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    check(cudaHostAlloc(reinterpret_cast<void **>(&told), sizeof *told, cudaHostAllocMapped));
    void *base = nullptr;
    check(cudaMalloc(&base, sizeof(uint64_t)));
    check(cudaMemset(base, 0, sizeof(uint64_t)));
    ring = {nullptr, nullptr, static_cast<uint64_t *>(base), arguments.capacity};
    if (!arguments.ring.empty()) {
        size_t bytes = arguments.capacity * sizeof(uint64_t);
        check(cudaMalloc(reinterpret_cast<void **>(&ring.starts), bytes));
        check(cudaMalloc(reinterpret_cast<void **>(&ring.ends), bytes));
        check(cudaMemset(ring.starts, 0xff, bytes));
        check(cudaMemset(ring.ends, 0, bytes));
    }
    check(cudaDeviceSynchronize());
    if (arguments.graph) capture();
}

static void begin_burst() {
    if (graph) check(cudaGraphLaunch(graph, stream));
    else launch_burst();
}
static void finish() { check(cudaStreamSynchronize(stream)); }

// Waits until few enough bursts are in flight, then begins one.
static void begin_in_flight(uint64_t number) {
    cudaEvent_t event = ended[number % IN_FLIGHT];
    if (number >= IN_FLIGHT) check(cudaEventSynchronize(event));
    begin_burst();
    check(cudaEventRecord(event, stream));
}

static uint64_t step() {
    read_step<<<1, 1, 0, stream>>>(told);
    finish();
    return *told;
}

static Bracket bracket() {
    Bracket found{};
    found.before = realtime();
    read_clock<<<1, 1, 0, stream>>>(told);
    finish();
    found.after = realtime();
    found.gpu = *told;
    return found;
}

static std::vector<uint64_t> copy_ring() {
    uint64_t count = 0;
    check(cudaMemcpy(&count, const_cast<uint64_t *>(ring.base), sizeof count, cudaMemcpyDeviceToHost));
    count = std::min(count, arguments.capacity);
    std::vector<uint64_t> starts(count), ends(count), pairs;
    check(cudaMemcpy(starts.data(), ring.starts, count * sizeof(uint64_t), cudaMemcpyDeviceToHost));
    check(cudaMemcpy(ends.data(), ring.ends, count * sizeof(uint64_t), cudaMemcpyDeviceToHost));
    for (uint64_t i = 0; i < count; i++) pairs.insert(pairs.end(), {starts[i], ends[i]});
    return pairs;
}

#else

// Kernels are waits of this thread that begin as long after their launch as on an H200; the clock is off by a second,
// and the stand-in CUPTI of the simulation is told of each.
constexpr uint64_t AHEAD = 1000000000, LAUNCH = 4000;
static std::vector<uint64_t> pairs;
static int (*tell_launch)() = nullptr;
static void (*tell_kernel)(uint64_t, uint64_t) = nullptr;

static void *symbol(const char *variable, const char *name) {
    const char *path = getenv(variable);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : nullptr;
    return library ? dlsym(library, name) : nullptr;
}

static void open() {
    tell_launch = reinterpret_cast<int (*)()>(symbol("MPSWARDEN_CUPTI", "simulated_launch"));
    tell_kernel = reinterpret_cast<void (*)(uint64_t, uint64_t)>(symbol("MPSWARDEN_CUPTI", "simulated_kernel"));
    auto inject = reinterpret_cast<int (*)()>(symbol("CUDA_INJECTION64_PATH", "InitializeInjection"));
    if (inject) inject();
}

static void begin_burst() {
    for (int i = 0; i < arguments.burst; i++) {
        if (tell_launch) tell_launch();
        uint64_t launched = realtime(), from = launched;
        while (from - launched < LAUNCH) from = realtime();
        while (realtime() - from < arguments.length_us * 1000) usleep(5);
        uint64_t to = realtime();
        if (!arguments.ring.empty()) pairs.insert(pairs.end(), {from + AHEAD, to + AHEAD});
        if (tell_kernel) tell_kernel(from, to);
    }
}
static void finish() {}
static void begin_in_flight(uint64_t) { begin_burst(); }
static uint64_t step() { return 1; }
static Bracket bracket() {
    uint64_t now = realtime();
    return {now, now + AHEAD, now};
}
static std::vector<uint64_t> copy_ring() { return pairs; }

#endif

} // namespace gpu

// ---------------------------------------------------------------- the load

// The GPU's clock beside CLOCK_REALTIME: the tightest of many brackets, as the fields of a JSON object.
static std::string clocks() {
    gpu::Bracket best = gpu::bracket();
    for (int i = 0; i < 500; i++) {
        gpu::Bracket found = gpu::bracket();
        if (found.after - found.before < best.after - best.before) best = found;
    }
    char text[160];
    snprintf(text, sizeof text, "\"realtime_ns\": %" PRIu64 ", \"gpu_ns\": %" PRIu64 ", \"bracket_ns\": %" PRIu64,
             best.before + (best.after - best.before) / 2, best.gpu, best.after - best.before);
    return text;
}

// Back to back: kernels done.
static uint64_t run_full(double until) {
    uint64_t bursts = 0;
    while (monotonic() < until) gpu::begin_in_flight(bursts++);
    gpu::finish();
    return bursts * arguments.burst;
}

// Busy for a share of time: each gap is as long as the work before it wants, give or take half, so that clients wander
// against each other. What was lost to a stall is not caught up.
static uint64_t run_share(double until) {
    static std::minstd_rand random(arguments.seed);
    std::uniform_real_distribution<double> jitter(0.5, 1.5);
    double work = arguments.burst * arguments.length_us * 1e-6, period = work / arguments.busy;
    uint64_t bursts = 0;
    for (double due = monotonic(); due < until; due += work + (period - work) * jitter(random)) {
        due = std::max(due, monotonic() - 5 * period);
        while (monotonic() < due) {
        }
        gpu::begin_burst();
        gpu::finish();
        bursts++;
    }
    return bursts * arguments.burst;
}

static void run(double seconds) {
    double from = monotonic();
    uint64_t done = arguments.busy >= 1 ? run_full(from + seconds) : run_share(from + seconds);
    printf("{\"done\": %" PRIu64 ", \"seconds\": %.6f}\n", done, monotonic() - from);
}

static void write_ring() {
    if (arguments.ring.empty()) return;
    std::vector<uint64_t> pairs = gpu::copy_ring();
    FILE *file = fopen(arguments.ring.c_str(), "wb");
    bool whole = file && fwrite(pairs.data(), sizeof(uint64_t), pairs.size(), file) == pairs.size();
    if (!whole || fclose(file) != 0) {
        fprintf(stderr, "kernels: cannot write %s\n", arguments.ring.c_str());
        exit(1);
    }
}

static void parse(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        std::string key = argv[i];
        if (key == "--length-us") arguments.length_us = atof(argv[i + 1]);
        else if (key == "--busy") arguments.busy = atof(argv[i + 1]);
        else if (key == "--burst") arguments.burst = std::max(1, atoi(argv[i + 1]));
        else if (key == "--graph") arguments.graph = strcmp(argv[i + 1], "yes") == 0;
        else if (key == "--blocks") arguments.blocks = std::max(1, atoi(argv[i + 1]));
        else if (key == "--capacity") arguments.capacity = strtoull(argv[i + 1], nullptr, 10);
        else if (key == "--seed") arguments.seed = atoi(argv[i + 1]);
        else if (key == "--ring") arguments.ring = argv[i + 1];
        else fprintf(stderr, "kernels: %s is not known\n", argv[i]), exit(64);
    }
    if (arguments.busy <= 0 || arguments.length_us <= 0) fprintf(stderr, "kernels: busy and length-us are over 0\n"), exit(64);
}

int main(int argc, char **argv) {
    parse(argc, argv);
    setvbuf(stdout, nullptr, _IOLBF, 0);
    gpu::open();
    uint64_t step = gpu::step();
    printf("{\"ready\": true, \"pid\": %d, \"step_ns\": %" PRIu64 ", %s}\n", getpid(), step, clocks().c_str());
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "run ", 4) == 0) run(std::min(atof(line + 4), 120.0));
    }
    std::string last = clocks();
    write_ring();
    printf("{\"ended\": true, %s}\n", last.c_str());
}
