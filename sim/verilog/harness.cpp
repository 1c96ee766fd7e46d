// Drives one Verilator model and records what passes its boundaries; called from sim/verilog/native.py through ctypes.
//
// One cycle: inputs for the cycle are set while the clock is low, the design settles, every boundary whose valid (and ready)
// is high is recorded with the cycle's number, then the clock rises. Values are little-endian bytes, as Verilator keeps them.
#include "Vtop.h"
#include "verilated.h"

#include <cstdint>
#include <cstring>
#include <vector>

double sc_time_stamp() { return 0; }

namespace {

struct Port {
    uint8_t* data;
    uint32_t bytes;     // as seen from Python: (bits + 7) / 8, never more than Verilator stores
};

struct Pattern {        // one byte a cycle, played from the start of the run and repeated
    int port;
    std::vector<uint8_t> values;
    void play(std::vector<Port>& ports, uint64_t cycle) const { *ports[port].data = values[cycle % values.size()]; }
};

struct Source {         // a stream that is fed; a beat once offered stays until it is taken
    int valid, ready, payload;
    uint32_t bytes;
    std::vector<uint8_t> beats, allow;
    size_t next = 0;
    bool offered = false;
};

struct Boundary {
    int valid, ready, payload;
    uint32_t bytes;
    std::vector<uint8_t> log;
    uint64_t count = 0;
};

struct Simulation {
    VerilatedContext context;
    Vtop top{&context, "top"};
    std::vector<Port> ports;
    std::vector<Pattern> patterns;
    std::vector<Source> sources;
    std::vector<Boundary> boundaries;
    uint64_t cycle = 0;
    bool settled = false;
    void* waves = nullptr;                              // the waveform that is being written; see trace.cpp
    void (*dump)(void* waves, uint64_t time) = nullptr;
    uint64_t waves_origin = 0;                          // cycle of time 0

    Simulation() {
        context.fatalOnError(false);    // a failed assertion ends the run, not the process
#define PORT(name, bits) ports.push_back({reinterpret_cast<uint8_t*>(&top.name), (bits + 7) / 8});
#include "ports.inc"
#undef PORT
    }

    bool bit(int port) const { return port < 0 || *ports[port].data; }

    void settle() {
        top.clk = 0;
        for (auto& pattern : patterns) pattern.play(ports, cycle);
        for (auto& source : sources) {
            if (!source.offered && source.next < source.beats.size() / source.bytes
                && (source.allow.empty() || source.allow[cycle % source.allow.size()])) {
                source.offered = true;
                if (source.payload >= 0)
                    memcpy(ports[source.payload].data, &source.beats[source.next * source.bytes], source.bytes);
            }
            *ports[source.valid].data = source.offered;
        }
        top.eval();
        settled = true;
    }

    void edge() {
        for (auto& boundary : boundaries) {
            if (!bit(boundary.valid) || !bit(boundary.ready)) continue;
            auto at = boundary.log.size();
            boundary.log.resize(at + sizeof(cycle) + boundary.bytes);
            memcpy(&boundary.log[at], &cycle, sizeof(cycle));
            if (boundary.payload >= 0) memcpy(&boundary.log[at + sizeof(cycle)], ports[boundary.payload].data, boundary.bytes);
            boundary.count++;
        }
        for (auto& source : sources)
            if (source.offered && bit(source.ready)) source.offered = false, source.next++;
        top.clk = 1;
        top.eval();
        cycle++;
        settled = false;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Simulation* fl_new() { return new Simulation; }
API void fl_delete(Simulation* s) { s->top.final(); delete s; }
API uint64_t fl_cycle(Simulation* s) { return s->cycle; }

API void fl_set(Simulation* s, int port, const uint8_t* value) {
    memcpy(s->ports[port].data, value, s->ports[port].bytes);
    s->settled = false;
}

API void fl_get(Simulation* s, int port, uint8_t* value) {
    if (!s->settled) s->settle();
    memcpy(value, s->ports[port].data, s->ports[port].bytes);
}

API void fl_pattern(Simulation* s, int port, const uint8_t* values, uint64_t count) {
    for (auto& pattern : s->patterns)
        if (pattern.port == port) { pattern.values.assign(values, values + count); return; }
    s->patterns.push_back({port, {values, values + count}});
}

API int fl_source(Simulation* s, int valid, int ready, int payload, uint32_t bytes) {
    s->sources.push_back({valid, ready, payload, bytes, {}, {}});
    return int(s->sources.size()) - 1;
}

API void fl_feed(Simulation* s, int source, const uint8_t* beats, uint64_t count) {
    auto& queue = s->sources[source];
    if (queue.next * queue.bytes == queue.beats.size()) queue.beats.clear(), queue.next = 0;
    queue.beats.insert(queue.beats.end(), beats, beats + count * queue.bytes);
}

API void fl_allow(Simulation* s, int source, const uint8_t* allow, uint64_t count) {
    s->sources[source].allow.assign(allow, allow + count);
}

API uint64_t fl_pending(Simulation* s, int source) {
    auto& queue = s->sources[source];
    return queue.beats.size() / queue.bytes - queue.next;
}

API int fl_boundary(Simulation* s, int valid, int ready, int payload, uint32_t bytes) {
    s->boundaries.push_back({valid, ready, payload, bytes, {}});
    return int(s->boundaries.size()) - 1;
}

API uint64_t fl_log_bytes(Simulation* s, int boundary) { return s->boundaries[boundary].log.size(); }

API void fl_take(Simulation* s, int boundary, uint8_t* log) {   // hands over what was recorded since the last call
    auto& from = s->boundaries[boundary].log;
    memcpy(log, from.data(), from.size());
    from.clear();
}

// Runs at most `cycles` cycles; stops before the edge of a cycle in which `port` is high (port >= 0), or after the edge of the
// one that brings a boundary to `count` beats in total (boundary >= 0), or that empties source `drained` (drained >= 0).
// 0: all cycles were run, 1: stopped as asked, 2: an assertion of the design failed; Verilator has printed it.
API int fl_run(Simulation* s, uint64_t cycles, int port, int boundary, uint64_t count, int drained) {
    for (uint64_t end = s->cycle + cycles; s->cycle < end;) {
        s->settle();
        if (port >= 0 && s->bit(port)) return 1;
        if (s->waves) s->dump(s->waves, 10 * (s->cycle - s->waves_origin));
        s->edge();
        if (s->waves) s->dump(s->waves, 10 * (s->cycle - 1 - s->waves_origin) + 5);
        if (s->context.gotError()) return 2;
        if (boundary >= 0 && s->boundaries[boundary].count >= count) return 1;
        if (drained >= 0 && fl_pending(s, drained) == 0) return 1;
    }
    return 0;
}
