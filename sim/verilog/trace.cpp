// The harness of a model that can write waveforms; sim/verilog/native.py calls it in place of harness.cpp alone.
#include "verilated_vcd_c.h"

#define fl_new fl_new_without_trace
#include "harness.inc"
#undef fl_new

API Simulation* fl_new() {
    auto s = fl_new_without_trace();
    s->context.traceEverOn(true);       // before anything is evaluated
    return s;
}

// Runs `cycles` cycles and writes them to `path` as a VCD, ten time units a cycle, counted from `origin`; stops early in a cycle
// in which `port` is high. Results as of fl_run; 3: the file cannot be written.
API int fl_trace(Simulation* s, const char* path, uint64_t cycles, uint64_t origin, int port) {
    VerilatedVcdC file;
    s->top.trace(&file, 99);
    file.open(path);
    if (!file.isOpen()) return 3;
    int result = 0;
    for (uint64_t end = s->cycle + cycles; s->cycle < end && !result;) {
        auto time = 10 * (s->cycle - origin);
        s->settle();
        file.dump(time);
        if (port >= 0 && s->bit(port)) { result = 1; break; }
        s->edge();
        file.dump(time + 5);
        if (s->context.gotError()) result = 2;
    }
    file.close();
    return result;
}
