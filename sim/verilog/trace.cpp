// The harness of a model that can write waveforms; sim/verilog/native.py calls it in place of harness.cpp alone.
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#else
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#endif

#define fl_new fl_new_without_trace
#define fl_delete fl_delete_without_trace
#include "harness.inc"
#undef fl_new
#undef fl_delete

API Simulation* fl_new() {
    auto s = fl_new_without_trace();
    s->context.traceEverOn(true);       // before anything is evaluated
    return s;
}

// Ends the waveform that is being written, if there is one.
API void fl_waves_end(Simulation* s) {
    if (!s->waves) return;
    auto file = static_cast<WaveFile*>(s->waves);
    if (s->settled) file->dump(10 * (s->cycle - s->waves_origin));      // what stopped the run
    file->close();
    delete file;
    s->waves = nullptr;
}

// Writes all cycles that are run from now on to `path`, ten time units a cycle, counted from `origin`. 0: done, 3: the file cannot
// be written.
API int fl_waves_begin(Simulation* s, const char* path, uint64_t origin) {
    fl_waves_end(s);
    auto file = new WaveFile;
    s->top.trace(file, 99);
    file->open(path);
    if (!file->isOpen()) {
        delete file;
        return 3;
    }
    s->waves = file;
    s->waves_origin = origin;
    s->dump = [](void* waves, uint64_t time) { static_cast<WaveFile*>(waves)->dump(time); };
    return 0;
}

API void fl_delete(Simulation* s) {
    fl_waves_end(s);
    fl_delete_without_trace(s);
}
