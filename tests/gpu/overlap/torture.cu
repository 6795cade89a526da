// An engine that gives the kernel probe a hard time: threads that launch kernels and graphs, capture graphs, allocate
// and free, copy, queue deep, and make streams, all at once. Any CUDA error ends it and is said. Speaks as clients.py
// wants it: `run SECONDS` on stdin, a JSON line for each.
//
//   nvcc -O2 -std=c++17 -arch=sm_90 -o torture torture.cu

#include <cuda_runtime.h>
#include <dirent.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

static std::atomic<bool> stop{false};
static std::atomic<int> error{0};
static std::atomic<long> done{0};
static std::atomic<long> graphs{0};
static std::atomic<int> preparing{0};

__global__ void spin(uint64_t ns) {
    uint64_t from, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(from));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - from < ns);
}

static bool well(cudaError_t answer) {
    int none = 0;
    if (answer != cudaSuccess) error.compare_exchange_strong(none, answer), stop = true;
    return answer == cudaSuccess;
}

static void launch(cudaStream_t stream, int kernels) {
    for (int i = 0; i < kernels; i++) spin<<<4, 64, 0, stream>>>(5000);
    well(cudaGetLastError());
}

static cudaGraphExec_t capture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t made = nullptr;
    well(cudaStreamBeginCapture(stream, mode));
    launch(stream, 20);
    if (well(cudaStreamEndCapture(stream, &graph)) && well(cudaGraphInstantiate(&made, graph, 0)))
        well(cudaGraphDestroy(graph));
    return made;
}

// What one thread does, by its letter, until it is told to stop.
static void work(char kind) {
    cudaStream_t stream;
    if (!well(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking))) return;
    cudaGraphExec_t graph = capture(stream, cudaStreamCaptureModeThreadLocal);
    char *there = nullptr, *here = nullptr;
    well(cudaMalloc(&there, 1 << 20));
    well(cudaMallocHost(&here, 1 << 20));
    // While a thread captures in mode `global`, only what is told that it may can do what is unsafe in a capture. So
    // it is the probe alone that could break one.
    cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
    if (kind != 'c') well(cudaThreadExchangeStreamCaptureMode(&relaxed));
    for (preparing--; preparing > 0 && !stop;) std::this_thread::yield();
    for (long round = 1; !stop; round++, done++) {
        switch (kind) {
        case 'g': well(cudaGraphLaunch(graph, stream)); well(cudaStreamSynchronize(stream)); break;
        case 'k': launch(stream, 20); well(cudaStreamSynchronize(stream)); break;
        case 'q':  // a deep queue
            for (int i = 0; i < 20; i++) well(cudaGraphLaunch(graph, stream));
            if (round % 10 == 0) well(cudaStreamSynchronize(stream));
            break;
        case 'c': {  // no thread may do anything unsafe while this captures
            cudaGraphExec_t another = capture(stream, cudaStreamCaptureModeGlobal);
            if (another) { well(cudaGraphLaunch(another, stream)); well(cudaStreamSynchronize(stream)); well(cudaGraphExecDestroy(another)); graphs++; }
            break;
        }
        case 'm': {
            void *some = nullptr;
            launch(stream, 3);
            well(cudaMallocAsync(&some, 1 << 20, stream));
            well(cudaFreeAsync(some, stream));
            well(cudaMemcpyAsync(there, here, 1 << 20, cudaMemcpyHostToDevice, stream));
            well(cudaMemcpyAsync(here, there, 1 << 20, cudaMemcpyDeviceToHost, stream));
            well(cudaStreamSynchronize(stream));
            break;
        }
        case 's': {  // streams and events that come and go; the legacy stream
            cudaStream_t brief;
            cudaEvent_t event;
            well(cudaStreamCreate(&brief));
            well(cudaEventCreate(&event));
            launch(brief, 3);
            well(cudaEventRecord(event, brief));
            well(cudaStreamWaitEvent(stream, event, 0));
            launch(stream, 1);
            launch(nullptr, 1);
            well(cudaStreamSynchronize(stream));
            well(cudaEventDestroy(event));
            well(cudaStreamDestroy(brief));
            break;
        }
        }
    }
    cudaStreamSynchronize(stream);
}

// Where the calling thread is, on stderr.
static void tell(int signal) {
    void *frames[64];
    dprintf(2, "pid %d, thread %ld, signal %d:\n", getpid(), syscall(SYS_gettid), signal);
    backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
}

// A deadly signal: where this thread is, and then every other one.
static void die(int signal, siginfo_t *info, void *) {
    dprintf(2, "at address %p\n", info->si_addr);
    tell(signal);
    DIR *threads = opendir("/proc/self/task");
    while (dirent *thread = threads ? readdir(threads) : nullptr) {
        long number = atol(thread->d_name);
        if (number == 0 || number == syscall(SYS_gettid)) continue;
        syscall(SYS_tgkill, getpid(), number, SIGUSR2);
        usleep(50000);  // one after the other
    }
    _exit(128 + signal);
}

static void tell_of_death() {
    void *frame;
    backtrace(&frame, 1);  // loads what it needs
    struct sigaction action = {};
    action.sa_sigaction = die;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    for (int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) sigaction(signal, &action, nullptr);
    signal(SIGUSR2, tell);
}

int main(int count, char **words) {
    tell_of_death();
    const char *kinds = count > 1 ? words[1] : "gk";
    setbuf(stdout, nullptr);
    well(cudaFree(nullptr));
    printf("{\"ready\": true}\n");
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "run ", 4)) continue;
        std::vector<std::thread> threads;
        stop = false, done = 0, graphs = 0, preparing = int(strlen(kinds));
        auto begin = std::chrono::steady_clock::now(), until = begin + std::chrono::milliseconds(long(1000 * atof(line + 4)));
        for (const char *kind = kinds; *kind; kind++) threads.emplace_back(work, *kind);
        while (!stop && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        stop = true;
        for (auto &thread : threads) thread.join();
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        printf("{\"done\": %ld, \"graphs\": %ld, \"seconds\": %.3f, \"error\": %d, \"words\": \"%s\"}\n", done.load(), graphs.load(), seconds, error.load(), cudaGetErrorString(cudaError_t(error.load())));
    }
    printf("{\"ended\": true}\n");
}
