// A small engine for the tests on a real GPU: it holds device memory, spins kernels of a chosen
// length on a chosen number of SMs, answers HTTP as vLLM does (/health, /metrics) and faults on order.
// It does not clean up after a parent that died: that is the watchdog's work, and under test.
//
//   nvcc -O2 -std=c++17 -arch=sm_90 -o engine engine.cu
//   g++ -x c++ -DWITHOUT_CUDA -std=c++17 -pthread -Wall -o engine engine.cu     (no GPU: the plumbing alone)

#ifndef WITHOUT_CUDA
#include <cuda_runtime.h>
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>

// ---------------------------------------------------------------- the GPU, or what stands in for it

namespace gpu {

#ifndef WITHOUT_CUDA

// Spins on each of its blocks (one an SM, as long as there are that many) for `ns` nanoseconds.
__global__ void spin(uint64_t ns) {
    uint64_t from, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(from));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - from < ns);
}

// Leaves no room for any other kernel: as many threads as the GPU holds.
__global__ void __launch_bounds__(1024, 2) crowd(uint64_t ns) {
    uint64_t from, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(from));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - from < ns);
}

__global__ void write_astray() { *reinterpret_cast<volatile int *>(0xdead00bee000ull) = 1; }

__global__ void trap() { asm volatile("trap;"); }

// Each call below answers with a CUDA error code; 0 is success.
int finish() {
    cudaError_t launched = cudaGetLastError();
    return launched != cudaSuccess ? launched : cudaDeviceSynchronize();
}
int open() { return cudaFree(0); }
int hold(size_t bytes) {
    void *memory = nullptr;
    return bytes == 0 ? 0 : cudaMalloc(&memory, bytes);
}
int work(uint64_t us, int sms) {
    spin<<<sms, 32>>>(us * 1000);
    return finish();
}
int take_all(uint64_t us) {
    int sms = 0;
    cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0);
    crowd<<<sms * 2, 1024>>>(us * 1000);
    return finish();
}
int illegal_address() {
    write_astray<<<1, 1>>>();
    return finish();
}
int trapped() {
    trap<<<1, 1>>>();
    return finish();
}
const char *text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

#else

int open() { return 0; }
int hold(size_t bytes) {
    static size_t held = 0; // of a GPU of 140 GiB
    return (held += bytes) > (140ull << 30) ? 2 : 0;
}
int work(uint64_t us, int) {
    usleep(us);
    return 0;
}
int take_all(uint64_t us) { return work(us, 132); }
int illegal_address() {
    usleep(100000);
    return 700;
}
int trapped() {
    usleep(14000);
    return 719;
}
const char *text(int code) {
    if (code == 2) return "out of memory";
    return code == 700 ? "an illegal memory access was encountered" : "unspecified launch failure";
}

#endif

} // namespace gpu

// ---------------------------------------------------------------- arguments and shared state

struct Arguments {
    std::string name = "engine";
    int port = 0;
    double memory_gib = 1;
    uint64_t kernel_us = 1000;
    int sms = 16;
    bool fork_child = false; // the GPU work in a child process, as vLLM does it
    bool main_lives = false; // it lives on without that child, and says it is healthy
    bool foreign = false;    // no HTTP: run, fault, end
    bool linger = false;     // --foreign: lives on with its error until it is killed
    double seconds = 2;      // --foreign: how long at most
    double at = 0.5;         // --foreign: when it faults, after its context is ready
    std::string fault = "illegal-address";
};

enum Fault : int { none, illegal_address, trap, hang, long_kernel, device_oom, host_oom, take_all };

// What the HTTP side and the GPU side tell each other: shared memory, since they may be two processes.
struct Shared {
    std::atomic<int> ready{0};
    std::atomic<int> error{0}; // the first CUDA error
    std::atomic<int> load{1};
    std::atomic<int> linger{0};
    std::atomic<int> stop{0};
    std::atomic<int> order{none};
    std::atomic<uint64_t> order_us{0};
    std::atomic<uint64_t> kernel_us{0};
    std::atomic<uint64_t> leak{0}; // bytes of device memory a second
    std::atomic<uint64_t> kernels{0};
};

static Shared *shared;
static Arguments arguments;

static double epoch() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static double monotonic() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static void say(const std::string &what) {
    fprintf(stderr, "%.4f %s %s\n", epoch(), arguments.name.c_str(), what.c_str());
}

static Fault fault_named(const std::string &name) {
    if (name == "illegal-address") return illegal_address;
    if (name == "trap") return trap;
    if (name == "hang") return hang;
    if (name == "long") return long_kernel;
    if (name == "device-oom") return device_oom;
    if (name == "host-oom") return host_oom;
    if (name == "take-all") return take_all;
    return none;
}

// ---------------------------------------------------------------- the GPU side

// Says what CUDA said; then ends the process, or lingers with the error until it is told to stop.
static void fail(int code) {
    int before = 0;
    shared->error.compare_exchange_strong(before, code);
    say(std::string("CUDA error: ") + gpu::text(code) + " (code=" + std::to_string(code) + ")");
    // As Python's last words of an exception: where the error of a real engine stands.
    fprintf(stderr, "torch.AcceleratorError: CUDA error: %s\n", gpu::text(code));
    if (shared->linger.load()) say("lingering");
    while (shared->linger.load() && !shared->stop.load()) usleep(1000);
    _exit(arguments.foreign ? 3 : 1);
}

static void check(int code) {
    if (code != 0) fail(code);
}

static int exhaust_device() {
    for (;;)
        if (int code = gpu::hold(1ull << 30)) return code;
}

// Touches host memory, 64 GiB at most: a limit of its cgroup ends it long before.
static int exhaust_host() {
    const size_t piece = 64ull << 20;
    for (size_t taken = 0; taken < (64ull << 30); taken += piece) {
        void *memory = malloc(piece);
        if (memory == nullptr) return 2;
        memset(memory, 1, piece);
    }
    return 2;
}

// Keeps the whole GPU, and makes tokens meanwhile as an engine with work of its own would.
static int crowd_out(uint64_t us) {
    std::atomic<bool> done{false};
    std::thread tokens([&done] {
        while (!done.load()) {
            shared->kernels.fetch_add(1);
            usleep(1000);
        }
    });
    int code = gpu::take_all(us);
    done.store(true);
    tokens.join();
    return code;
}

static int commit(int fault, uint64_t us) {
    switch (fault) {
    case device_oom: return exhaust_device();
    case host_oom: return exhaust_host();
    case take_all: return crowd_out(us ? us : 10000000);
    case illegal_address: return gpu::illegal_address();
    case trap: return gpu::trapped();
    case hang: return gpu::work(us ? us : 600000000, arguments.sms);
    case long_kernel: return gpu::work(us ? us : 2000000, arguments.sms);
    default: return 0;
    }
}

static void open_gpu() {
    double from = monotonic();
    check(gpu::open());
    double context = monotonic();
    check(gpu::hold(static_cast<size_t>(arguments.memory_gib * (1ull << 30))));
    check(gpu::work(arguments.kernel_us, arguments.sms)); // the module is loaded, the first kernel done
    char line[128];
    snprintf(line, sizeof line, "context ready in %.3f s, memory and first kernel in %.3f s (pid %d)", context - from,
             monotonic() - context, getpid());
    say(line);
    shared->ready.store(1);
}

// Takes what is due of a leak, in pieces of 16 MiB.
static void leak_on(double &since) {
    const uint64_t rate = shared->leak.load(), piece = 16ull << 20;
    if (rate == 0) {
        since = monotonic();
    } else if ((monotonic() - since) * rate >= piece) {
        since += static_cast<double>(piece) / rate;
        check(gpu::hold(piece));
    }
}

// Works until it is told to stop; one kernel at a time, an order between two of them.
static void serve_gpu() {
    open_gpu();
    double leaks_since = monotonic();
    while (!shared->stop.load()) {
        int fault = shared->order.exchange(none);
        if (fault != none) {
            say("order " + std::to_string(fault) + " begins");
            check(commit(fault, shared->order_us.load()));
        } else if (shared->load.load()) {
            check(gpu::work(shared->kernel_us.load(), arguments.sms));
            shared->kernels.fetch_add(1);
        } else {
            usleep(1000);
        }
        leak_on(leaks_since);
    }
    say("stopped");
    _exit(0);
}

// A process outside MPS: works, faults when it is time, ends.
static void run_foreign() {
    open_gpu();
    double from = monotonic();
    while (monotonic() - from < arguments.seconds) {
        if (monotonic() - from >= arguments.at) check(commit(fault_named(arguments.fault), 0));
        check(gpu::work(arguments.kernel_us, arguments.sms));
    }
    _exit(0);
}

// ---------------------------------------------------------------- the HTTP side

// The value of `key` in a query string; empty when it is not there.
static std::string parameter(const std::string &query, const std::string &key) {
    size_t at = query.rfind(key + "=", 0) == 0 ? 0 : query.find("&" + key + "=");
    if (at == std::string::npos) return "";
    size_t from = query.find('=', at) + 1;
    return query.substr(from, query.find('&', from) - from);
}

struct Answer {
    int status;
    std::string body;
};

static Answer metrics() {
    std::string labels = "{model_name=\"" + arguments.name + "\"} ";
    std::string kernels = std::to_string(shared->kernels.load());
    return {200, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running" + labels +
                     std::to_string(shared->load.load()) +
                     "\n# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting" + labels +
                     "0\n# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total" + labels + kernels +
                     "\n"};
}

static Answer inject(const std::string &query) {
    Fault fault = fault_named(parameter(query, "fault"));
    if (fault == none) return {400, "no such fault\n"};
    shared->order_us.store(strtoull(parameter(query, "us").c_str(), nullptr, 10));
    shared->order.store(fault);
    return {202, "ordered\n"};
}

static Answer set(std::atomic<int> &flag, const std::string &query) {
    flag.store(parameter(query, "on") == "1");
    return {200, "done\n"};
}

static Answer set(std::atomic<uint64_t> &figure, const std::string &query, const std::string &key) {
    figure.store(strtoull(parameter(query, key).c_str(), nullptr, 10));
    return {200, "done\n"};
}

// A request is answered when some tokens more were made: while none are, its caller waits.
static Answer complete() {
    const uint64_t enough = shared->kernels.load() + 20;
    while (shared->load.load() && !shared->stop.load() && shared->kernels.load() < enough) usleep(2000);
    return {200, "{\"choices\": [{\"text\": \"x\"}]}\n"};
}

static Answer answer(const std::string &method, const std::string &path, const std::string &query) {
    int error = shared->error.load();
    if (method == "GET" && path == "/health") {
        return error ? Answer{500, "CUDA error " + std::to_string(error) + "\n"} : Answer{200, ""};
    }
    if (method == "GET" && path == "/metrics") return metrics();
    if (method == "POST" && path == "/v1/completions") return complete();
    if (method == "POST" && path == "/inject") return inject(query);
    if (method == "POST" && path == "/linger") return set(shared->linger, query);
    if (method == "POST" && path == "/load") return set(shared->load, query);
    if (method == "POST" && path == "/kernel") return set(shared->kernel_us, query, "us");
    if (method == "POST" && path == "/leak") return set(shared->leak, query, "bytes");
    return {404, "no such page\n"};
}

// Reads a request's head and body, 8 KiB at most, 2 s a read; false when it is none.
static bool read_request(int peer, std::string &request) {
    char part[2048];
    while (request.find("\r\n\r\n") == std::string::npos && request.size() < 8192) {
        ssize_t got = recv(peer, part, sizeof part, 0);
        if (got <= 0) return false;
        request.append(part, got);
    }
    return request.find("\r\n\r\n") != std::string::npos;
}

static void converse(int peer) {
    timeval patience{2, 0};
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    std::string request;
    if (read_request(peer, request)) {
        std::string method = request.substr(0, request.find(' '));
        size_t from = method.size() + 1;
        std::string target = request.substr(from, request.find_first_of(" \r", from) - from);
        size_t mark = target.find('?');
        std::string query = mark == std::string::npos ? "" : target.substr(mark + 1);
        Answer reply = answer(method, target.substr(0, mark), query);
        std::string text = "HTTP/1.1 " + std::to_string(reply.status) + (reply.status < 400 ? " OK" : " Error") +
                           "\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: " +
                           std::to_string(reply.body.size()) + "\r\n\r\n" + reply.body;
        send(peer, text.data(), text.size(), MSG_NOSIGNAL);
    }
    shutdown(peer, SHUT_RDWR);
    close(peer);
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 || listen(listener, 64) != 0) {
        say("cannot listen on port " + std::to_string(port) + ": " + strerror(errno));
        _exit(1);
    }
    return listener;
}

static void serve_http() {
    static std::atomic<int> peers{0};
    int listener = listen_on(arguments.port);
    say("serving on port " + std::to_string(arguments.port));
    for (;;) {
        int peer = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (peer < 0) continue;
        if (peers.fetch_add(1) >= 64) {
            peers.fetch_sub(1);
            close(peer);
            continue;
        }
        std::thread([peer] {
            converse(peer);
            peers.fetch_sub(1);
        }).detach();
    }
}

// ---------------------------------------------------------------- both together

// Follows the child that works on the GPU; the main process ends as its child did, soon after it.
static void follow(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    say("the GPU process ended, status " + std::to_string(status));
    if (arguments.main_lives) return;
    _exit(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1);
}

static void start_gpu_side() {
    if (!arguments.fork_child) {
        std::thread(serve_gpu).detach();
        return;
    }
    pid_t child = fork(); // before the first thread and the first CUDA call
    if (child == 0) {
        prctl(PR_SET_NAME, "engine-core");
        serve_gpu();
    }
    if (child < 0) {
        say(std::string("cannot fork: ") + strerror(errno));
        _exit(1);
    }
    std::thread(follow, child).detach();
}

static void on_term(int) { shared->stop.store(1); }

static void usage(const char *program) {
    fprintf(stderr,
            "usage: %s --port P [--name S] [--memory-gib G] [--kernel-us U] [--sms N] [--fork-child [--main-lives]]\n"
            "       %s --foreign [--seconds K] [--at T] [--fault illegal-address|trap|none] [--linger] [...]\n",
            program, program);
    exit(64);
}

static void parse(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        std::string key = argv[i];
        if (key == "--fork-child") {
            arguments.fork_child = true;
            continue;
        }
        if (key == "--main-lives") {
            arguments.main_lives = true;
            continue;
        }
        if (key == "--foreign") {
            arguments.foreign = true;
            continue;
        }
        if (key == "--linger") {
            arguments.linger = true;
            continue;
        }
        if (++i >= argc) usage(argv[0]);
        if (key == "--name") arguments.name = argv[i];
        else if (key == "--port") arguments.port = atoi(argv[i]);
        else if (key == "--memory-gib") arguments.memory_gib = atof(argv[i]);
        else if (key == "--kernel-us") arguments.kernel_us = strtoull(argv[i], nullptr, 10);
        else if (key == "--sms") arguments.sms = atoi(argv[i]);
        else if (key == "--seconds") arguments.seconds = atof(argv[i]);
        else if (key == "--at") arguments.at = atof(argv[i]);
        else if (key == "--fault") arguments.fault = argv[i];
        else usage(argv[0]);
    }
    if (!arguments.foreign && (arguments.port <= 0 || arguments.port > 65535)) usage(argv[0]);
}

int main(int argc, char **argv) {
    parse(argc, argv);
    setvbuf(stderr, nullptr, _IOLBF, 0);
    void *memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 71;
    shared = new (memory) Shared;
    shared->kernel_us.store(arguments.kernel_us);
    shared->linger.store(arguments.linger);
    signal(SIGTERM, on_term);
    say("starting (pid " + std::to_string(getpid()) + ")");
    if (arguments.foreign) run_foreign();
    start_gpu_side();
    while (!shared->ready.load()) usleep(1000); // an error ends the process; the watchdog bounds the wait
    serve_http();
}
