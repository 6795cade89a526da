// A client of one MPS server over two GPUs: it holds a context on each device that it is given, spins short kernels
// there, and does on order what ends others. Each line on stdout bears the time in seconds since the epoch.
//
//   nvcc -O2 -std=c++17 -arch=sm_90 -o client client.cu
//   g++ -x c++ -DWITHOUT_CUDA -std=c++17 -pthread -Wall -o client client.cu     (no GPU: the plumbing alone)
//
//   client LINGER DEVICE [DEVICE]      stdin: "illegal DEVICE", "trap DEVICE", "long DEVICE", "end"
// LINGER: seconds for which it stays after its first error; "once" tries each device and ends.

#ifndef WITHOUT_CUDA
#include <cuda_runtime.h>
#endif

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

static void say(const char *form, ...) {
    static std::mutex one;
    std::lock_guard<std::mutex> guard(one);
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%lld.%06ld ", static_cast<long long>(now.tv_sec), now.tv_nsec / 1000);
    va_list rest;
    va_start(rest, form);
    vprintf(form, rest);
    va_end(rest);
    printf("\n");
    fflush(stdout);
}

#ifndef WITHOUT_CUDA
__global__ void spin(uint64_t ns) {
    uint64_t from, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(from));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - from < ns);
}
__global__ void write_astray() { *reinterpret_cast<volatile int *>(0xdead00bee000ull) = 1; }
__global__ void trap_kernel() { asm volatile("trap;"); }

static int finish() {
    cudaError_t launched = cudaGetLastError();
    return launched != cudaSuccess ? launched : cudaDeviceSynchronize();
}
static int open_device(int device) {
    cudaError_t set = cudaSetDevice(device);
    return set != cudaSuccess ? set : cudaFree(0);
}
static int work(const std::string &what) {
    if (what == "illegal") write_astray<<<1, 1>>>();
    else if (what == "trap") trap_kernel<<<1, 1>>>();
    else if (what == "long") spin<<<16, 32>>>(20'000'000'000ull);
    else spin<<<16, 32>>>(1'000'000ull);
    return finish();
}
static const char *name(int code) { return cudaGetErrorName(static_cast<cudaError_t>(code)); }
#else
static int open_device(int) { return 0; }
static int work(const std::string &what) {
    if (what == "illegal") return 700;
    if (what == "trap") return 719;
    usleep(what == "long" ? 20'000'000 : 1000);
    return 0;
}
static const char *name(int) { return "none"; }
#endif

// One device of this client: what it is to do next, and how often it came round.
struct Device {
    int number;
    std::mutex guard;
    std::string order;
    std::atomic<uint64_t> rounds{0};
    std::atomic<bool> failed{false};
};

static void serve(Device *device, double linger) {
    int code = open_device(device->number);
    if (code != 0) {
        say("error device=%d where=open code=%d name=%s", device->number, code, name(code));
        device->failed = true;
        return;
    }
    say("ready device=%d", device->number);
    for (;;) {
        std::string order;
        {
            std::lock_guard<std::mutex> guard(device->guard);
            order.swap(device->order);
        }
        if (!order.empty()) say("launches device=%d what=%s", device->number, order.c_str());
        code = work(order);
        if (code != 0) {
            say("error device=%d where=work code=%d name=%s", device->number, code, name(code));
            device->failed = true;
            usleep(static_cast<useconds_t>(linger * 1e6));
            say("exits device=%d", device->number);
            _exit(3);
        }
        device->rounds++;
    }
}

static int once(const std::vector<int> &devices) {
    int failed = 0;
    for (int device : devices) {
        int code = open_device(device);
        if (code == 0) code = work("");
        if (code == 0) say("ready device=%d", device);
        else say("error device=%d where=open code=%d name=%s", device, code, name(code));
        failed |= code != 0;
    }
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    std::vector<int> numbers;
    for (int place = 2; place < argc; place++) numbers.push_back(atoi(argv[place]));
    if (strcmp(argv[1], "once") == 0) return once(numbers);
    double linger = atof(argv[1]);
    std::vector<Device *> devices;
    for (int number : numbers) {
        Device *device = new Device();
        device->number = number;
        devices.push_back(device);
        std::thread(serve, device, linger).detach();
    }
    char line[128];
    while (fgets(line, sizeof line, stdin) != nullptr) {
        char what[32];
        int number = -1;
        if (sscanf(line, "%31s %d", what, &number) < 1 || strcmp(what, "end") == 0) break;
        if (strcmp(what, "rounds") == 0) {
            for (Device *device : devices)
                say("rounds device=%d count=%llu", device->number,
                    static_cast<unsigned long long>(device->rounds.load()));
            continue;
        }
        for (Device *device : devices) {
            if (device->number != number) continue;
            std::lock_guard<std::mutex> guard(device->guard);
            device->order = what;
        }
    }
    _exit(0);
}
