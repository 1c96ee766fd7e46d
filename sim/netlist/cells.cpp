// A packed netlist of an ECP5, simulated 64 times at once: bit k of every word is copy k of the chip.
//
// Only what changes is evaluated. Lookup tables wait in a bucket for each level of the logic; registers, memories and multipliers
// whose inputs changed wait for the clock, of which there is one. What the tables of sim/netlist/reader.py hold is said there.
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

typedef uint64_t Word;
static const Word ALL = ~Word(0);

static inline Word pick(Word where, Word yes, Word no) { return no ^ ((no ^ yes) & where); }

// A lookup table of 16 bits, each a word of 64 copies or the same in all of them.
static inline Word table(uint32_t init, Word a, Word b, Word c, Word d) {
    const Word of[4] = {0, ~a, a, ALL};
    Word m[4];
    for (int n = 0; n < 4; n++) m[n] = pick(b, of[init >> (4 * n + 2) & 3], of[init >> 4 * n & 3]);
    return pick(d, pick(c, m[3], m[2]), pick(c, m[1], m[0]));
}

static inline Word chosen(const Word* of, Word a, Word b, Word c, Word d) {
    Word m[8];
    for (int n = 0; n < 8; n++) m[n] = pick(a, of[2 * n + 1], of[2 * n]);
    for (int n = 0; n < 4; n++) m[n] = pick(b, m[2 * n + 1], m[2 * n]);
    return pick(d, pick(c, m[3], m[2]), pick(c, m[1], m[0]));
}

struct Change { Word copies; uint32_t init; Word excited; };   // another table in some copies, and where it ever mattered

enum { LUT, CARRY, RAM_READ };
struct Node {
    int32_t kind, init, inject, in[5], out, carry, level, ram;
    bool waits;
    std::vector<Change>* changes;
};

enum { FF, RAM_WRITE, BLOCK_RAM, MULTIPLIER };
struct Part { int32_t kind, index; bool waits; };

struct Register { int32_t d, ce, lsr, q; bool set, async; Word no_ce, no_lsr, low, high, inverted, excited; };
struct Ram { int32_t data, at[4], enable, reader; Word words[16]; };

struct Block {                                          // 1024 rows of 18 bits
    int32_t width[2], registered[2], a[2][14], ce[2], oce[2], we[2], rst[2], cs[2][3], in[2][18], out[2][18];
    std::vector<Word> bits;
    Word now[2][18], held[2][18];
};

struct Multiplier {
    int32_t a[18], b[18], signed_[2], ce, rst, p[36], pipe;
    Word a_held[18], b_held[18], piped[36], held[36];
};

struct Uart {                                           // a serial line at two pins, the board's rx and tx
    int32_t rx = -1, tx = -1;
    double cycles = 0;                                  // of a bit
    std::deque<uint8_t> sent;
    uint64_t begun = 0;
    int bit = -1;                                       // of the byte that is being sent
    bool hears = false;
    uint64_t fell = 0;
    int heard = 0;
    uint32_t shift = 0;
    std::vector<uint8_t> received;
    uint64_t broken = 0;                                // bytes without a start or a stop bit
};

struct Edge { uint64_t cycle; Word value; };

struct Chip {
    std::vector<Word> value;
    std::vector<Node> nodes;
    std::vector<Part> parts;
    std::vector<Register> registers;
    std::vector<Ram> rams;
    std::vector<Block> blocks;
    std::vector<Multiplier> multipliers;
    std::vector<int32_t> asyncs;
    std::vector<int32_t> first, readers;                // of each net: nodes, or ~part
    std::vector<std::vector<int32_t>> buckets;
    std::vector<int32_t> waiting, now;
    std::vector<std::pair<int32_t, Word>> news;
    std::vector<std::vector<Change>*> owned;
    std::vector<Edge> edges;                            // of the line's tx
    std::vector<uint64_t>* toggles = nullptr;
    Uart uart;
    uint64_t cycle = 0, evaluated = 0;

    ~Chip() {
        for (auto* changes : owned) delete changes;
        delete toggles;
    }

    void wait(int32_t node) {
        Node& n = nodes[node];
        if (n.waits) return;
        n.waits = true;
        buckets[n.level].push_back(node);
    }

    void wait_for_clock(int32_t part) {
        if (parts[part].waits) return;
        parts[part].waits = true;
        waiting.push_back(part);
    }

    void drive(int32_t net, Word to) {
        if (net < 0 || value[net] == to) return;
        value[net] = to;
        if (toggles) (*toggles)[net]++;
        for (int32_t n = first[net]; n < first[net + 1]; n++) {
            int32_t reader = readers[n];
            if (reader >= 0) wait(reader);
            else wait_for_clock(~reader);
        }
    }

    Word read(const Node& n, uint32_t init) const {
        return table(init, value[n.in[0]], value[n.in[1]], value[n.in[2]], value[n.in[3]]);
    }

    void add(const Node& n, uint32_t init, Word& sum, Word& carry) const {
        Word p = read(n, init), c = value[n.in[4]];
        if (n.inject) {                                 // the chain passes by
            sum = p;
            carry = p & c;
        } else {
            Word low = table(init & 15, value[n.in[0]], value[n.in[1]], 0, 0);
            sum = p ^ c;
            carry = pick(p, c, low);
        }
    }

    void evaluate(Node& n) {
        evaluated++;
        switch (n.kind) {
        case LUT: {
            Word o = read(n, n.init);
            if (n.changes) for (auto& c : *n.changes) {
                Word other = pick(c.copies, read(n, c.init), o);
                c.excited |= other ^ o;
                o = other;
            }
            drive(n.out, o);
            break;
        }
        case CARRY: {
            Word sum, carry, s, c;
            add(n, n.init, sum, carry);
            if (n.changes) for (auto& change : *n.changes) {
                add(n, change.init, s, c);
                change.excited |= ((s ^ sum) | (c ^ carry)) & change.copies;
                sum = pick(change.copies, s, sum);
                carry = pick(change.copies, c, carry);
            }
            drive(n.out, sum);
            drive(n.carry, carry);
            break;
        }
        default:
            drive(n.out, chosen(rams[n.ram].words, value[n.in[0]], value[n.in[1]], value[n.in[2]], value[n.in[3]]));
        }
    }

    void settle() {
        for (bool again = true; again;) {
            for (auto& bucket : buckets) {
                for (size_t k = 0; k < bucket.size(); k++) {
                    Node& n = nodes[bucket[k]];
                    n.waits = false;
                    evaluate(n);
                }
                bucket.clear();
            }
            again = false;
            for (int32_t index : asyncs) {              // resets that do not wait for the clock
                Register& r = registers[index];
                Word q = pick(value[r.lsr] & ~r.no_lsr, r.set ? ALL : 0, value[r.q]);
                q = (q & ~r.low) | r.high;
                if (q != value[r.q]) {
                    drive(r.q, q);
                    again = true;
                }
            }
        }
    }

    bool same(const int32_t* nets, int count, uint32_t& number) const {
        number = 0;
        for (int n = 0; n < count; n++) {
            Word v = value[nets[n]];
            if (v != 0 && v != ALL) return false;
            number |= uint32_t(v & 1) << n;
        }
        return true;
    }

    uint32_t of_copy(const int32_t* nets, int count, int copy) const {
        uint32_t number = 0;
        for (int n = 0; n < count; n++) number |= uint32_t(value[nets[n]] >> copy & 1) << n;
        return number;
    }

    void clock(Register& r) {
        Word q = value[r.q], set = r.set ? ALL : 0;
        Word to = pick(value[r.lsr], set, pick(value[r.ce], value[r.d], q)), right = to;
        if (r.no_ce | r.no_lsr | r.low | r.high | r.inverted) {
            to = pick(value[r.ce] | r.no_ce, value[r.d] ^ r.inverted, q);
            to = pick(value[r.lsr] & ~r.no_lsr, set, to);
            to = (to & ~r.low) | r.high;
            r.excited |= to ^ right;
        }
        if (to != q) news.push_back({r.q, to});
    }

    void clock(Ram& r) {
        Word enable = value[r.enable], data = value[r.data];
        if (!enable) return;
        bool changed = false;
        for (int n = 0; n < 16; n++) {
            Word here = enable;
            for (int k = 0; k < 4; k++) here &= n >> k & 1 ? value[r.at[k]] : ~value[r.at[k]];
            Word to = pick(here, data, r.words[n]);
            changed |= to != r.words[n];
            r.words[n] = to;
        }
        if (changed) wait(r.reader);
    }

    // First bit of what a port of this width sees at a pin address.
    static int place(int width, uint32_t at) {
        int row = int(at >> 4 & 1023) * 18, high = (at >> 3 & 1) * 9;
        switch (width) {
        case 36: return int(at >> 5 & 511) * 36;
        case 18: return row;
        case 9: return row + high;
        case 4: return row + high + (at >> 2 & 1) * 4;
        case 2: return row + high + (at >> 1 & 3) * 2;
        default: return row + high + (at & 7);
        }
    }

    static bool enabled(int width, uint32_t at, int bit) { return width < 18 || (at >> bit / 9 & 1); }

    void write(Block& b, int port, Word enable, bool& changed) {
        int width = b.width[port];
        auto put = [&](uint32_t at, Word copies) {
            int from = place(width, at);
            for (int n = 0; n < width; n++) {
                if (!enabled(width, at, n)) continue;
                // A pair of rows is written through the pins of both ports.
                int32_t net = n < 18 ? b.in[port][n] : b.in[1][n - 18];
                Word to = pick(copies, value[net], b.bits[from + n]);
                changed |= to != b.bits[from + n];
                b.bits[from + n] = to;
            }
        };
        uint32_t at;
        if (same(b.a[port], 14, at)) put(at, enable);
        else for (int k = 0; k < 64; k++)
            if (enable >> k & 1) put(of_copy(b.a[port], 14, k), Word(1) << k);
    }

    void read(const Block& b, int port, Word* to) {
        int width = b.width[port];
        uint32_t at;
        if (same(b.a[port], 14, at)) {
            int from = place(width, at);
            for (int n = 0; n < width; n++) to[n] = b.bits[from + n];
            return;
        }
        memset(to, 0, width * sizeof(Word));
        for (int k = 0; k < 64; k++) {
            int from = place(width, of_copy(b.a[port], 14, k));
            for (int n = 0; n < width; n++) to[n] |= b.bits[from + n] & Word(1) << k;
        }
    }

    bool clock(Block& b) {
        bool changed = false;
        Word open[2];
        for (int port = 0; port < 2; port++) {
            open[port] = value[b.ce[port]];
            for (int n = 0; n < 3; n++) open[port] &= ~value[b.cs[port][n]];
        }
        // Reads see what was there before.
        const bool wide = b.width[0] == 36;
        Word word[36];
        for (int port = wide ? 1 : 0; port < 2; port++) {
            Word enable = open[port] & ~value[b.we[port]], reset = value[b.rst[port]], pass = value[b.oce[port]];
            if (enable) read(b, port, word);
            for (int n = 0; n < b.width[port]; n++) {
                int side = wide ? n / 18 : port, k = wide ? n % 18 : n;
                Word held = pick(reset, 0, pick(pass, b.now[side][k], b.held[side][k]));
                Word now = pick(reset, 0, enable ? pick(enable, word[n], b.now[side][k]) : b.now[side][k]);
                changed |= held != b.held[side][k] || now != b.now[side][k];
                b.held[side][k] = held;
                b.now[side][k] = now;
                if (b.out[side][k] >= 0) news.push_back({b.out[side][k], b.registered[side] ? held : now});
            }
        }
        for (int port = 0; port < (wide ? 1 : 2); port++)
            if (Word enable = open[port] & value[b.we[port]]) write(b, port, enable, changed);
        return changed;
    }

    static int64_t product(const Word* a, const Word* b, Word signed_a, Word signed_b, int copy) {
        int64_t x = 0, y = 0;
        for (int n = 0; n < 18; n++) x |= int64_t(a[n] >> copy & 1) << n, y |= int64_t(b[n] >> copy & 1) << n;
        if (signed_a >> copy & 1) x = x << 46 >> 46;
        if (signed_b >> copy & 1) y = y << 46 >> 46;
        return x * y;
    }

    void multiply(const Word* a, const Word* b, Word signed_a, Word signed_b, Word* p) {
        auto differ = [](Word w) { return w ^ (w & 1 ? ALL : 0); };
        Word others = differ(signed_a) | differ(signed_b);
        for (int n = 0; n < 18; n++) others |= differ(a[n]) | differ(b[n]);
        int64_t value = product(a, b, signed_a, signed_b, 0);
        for (int n = 0; n < 36; n++) p[n] = value >> n & 1 ? ALL : 0;
        for (; others; others &= others - 1) {
            int k = __builtin_ctzll(others);
            value = product(a, b, signed_a, signed_b, k);
            for (int n = 0; n < 36; n++) p[n] = pick(Word(1) << k, value >> n & 1 ? ALL : 0, p[n]);
        }
    }

    bool clock(Multiplier& m) {
        Word p[36], ce = value[m.ce], rst = value[m.rst];
        bool changed = false;
        multiply(m.a_held, m.b_held, value[m.signed_[0]], value[m.signed_[1]], p);
        auto hold = [&](Word& held, Word next) {
            next = pick(rst, 0, pick(ce, next, held));
            changed |= next != held;
            held = next;
        };
        for (int n = 0; n < 36; n++) {
            hold(m.held[n], m.pipe ? m.piped[n] : p[n]);
            hold(m.piped[n], p[n]);
            if (m.p[n] >= 0) news.push_back({m.p[n], m.held[n]});
        }
        for (int n = 0; n < 18; n++) hold(m.a_held[n], value[m.a[n]]), hold(m.b_held[n], value[m.b[n]]);
        return changed;
    }

    void edge() {
        now.swap(waiting);
        waiting.clear();
        news.clear();
        for (int32_t index : now) parts[index].waits = false;
        for (int32_t index : now) {
            Part& part = parts[index];
            switch (part.kind) {
            case FF: clock(registers[part.index]); break;
            case RAM_WRITE: clock(rams[part.index]); break;
            case BLOCK_RAM: if (clock(blocks[part.index])) wait_for_clock(index); break;
            default: if (clock(multipliers[part.index])) wait_for_clock(index);
            }
        }
        for (auto& [net, to] : news) drive(net, to);
        cycle++;
    }

    void line() {                                       // what the host's side of the serial line does in this cycle
        Uart& u = uart;
        if (u.bit < 0 && !u.sent.empty()) u.bit = 0, u.begun = cycle;
        if (u.bit >= 0) {
            if (u.bit < 10 && cycle >= u.begun + uint64_t(u.bit * u.cycles)) {
                int level = u.bit == 0 ? 0 : u.bit == 9 ? 1 : u.sent.front() >> (u.bit - 1) & 1;
                drive(u.rx, level ? ALL : 0);
                u.bit++;
            } else if (u.bit == 10 && cycle + 1 >= u.begun + uint64_t(10 * u.cycles)) {
                u.sent.pop_front();
                u.bit = -1;
            }
        }
        bool high = value[u.tx] & 1;
        if (!u.hears) {
            if (!high) u.hears = true, u.fell = cycle, u.heard = 0, u.shift = 0;
        } else if (cycle >= u.fell + uint64_t((u.heard + 0.5) * u.cycles)) {
            u.shift |= uint32_t(high) << u.heard;
            if (++u.heard == 10) {
                u.hears = false;
                u.broken += (u.shift & 1) || !(u.shift >> 9);
                u.received.push_back(u.shift >> 1 & 255);
            }
        }
    }

    void step() {
        Word before = uart.tx >= 0 ? value[uart.tx] : 0;
        if (uart.tx >= 0) line();
        settle();
        edge();
        settle();
        if (uart.tx >= 0 && value[uart.tx] != before) edges.push_back({cycle, value[uart.tx]});
    }
};

#define API extern "C" __attribute__((visibility("default")))

// `code`: records as sim/netlist/reader.py writes them, each with its kind in front; `first`, `readers`: what each net leads to.
API Chip* nl_new(int32_t nets, const int32_t* code, int64_t size, const int32_t* first, const int32_t* readers) {
    Chip* c = new Chip;
    c->value.assign(nets, 0);
    c->value[1] = ALL;
    c->first.assign(first, first + nets + 1);
    c->readers.assign(readers, readers + first[nets]);
    const int32_t* end = code + size;
    auto take = [&](int32_t* to, int count) { memcpy(to, code, count * sizeof(int32_t)); code += count; };
    while (code < end) {
        int32_t kind = *code++;
        if (kind < 3) {
            Node n = {};
            n.kind = kind;
            take(&n.init, 11);                          // init to ram, in order
            if (size_t(n.level) >= c->buckets.size()) c->buckets.resize(n.level + 1);
            c->nodes.push_back(n);
            continue;
        }
        kind -= 3;
        int32_t index;
        if (kind == FF) {
            int32_t v[6];
            take(v, 6);
            index = c->registers.size();
            c->registers.push_back({v[0], v[1], v[2], v[3], bool(v[4]), bool(v[5]), 0, 0, 0, 0, 0, 0});
            if (v[5]) c->asyncs.push_back(index);
            c->value[v[3]] = v[4] ? ALL : 0;
        } else if (kind == RAM_WRITE) {
            int32_t v[8];
            take(v, 8);
            index = c->rams.size();
            Ram r = {v[0], {v[1], v[2], v[3], v[4]}, v[5], v[6], {}};
            for (int n = 0; n < 16; n++) r.words[n] = v[7] >> n & 1 ? ALL : 0;
            c->rams.push_back(r);
        } else if (kind == BLOCK_RAM) {
            index = c->blocks.size();
            Block b = {};
            take(b.width, 4 + 28 + 8 + 6 + 72);
            b.bits.assign(18432, 0);
            c->blocks.push_back(b);
        } else {
            index = c->multipliers.size();
            Multiplier m = {};
            take(m.a, 36 + 2 + 2 + 36 + 1);
            c->multipliers.push_back(m);
        }
        c->parts.push_back({kind, index, false});
    }
    for (size_t n = 0; n < c->nodes.size(); n++) c->wait(n);
    for (size_t n = 0; n < c->parts.size(); n++) c->wait_for_clock(n);
    c->settle();
    return c;
}

API void nl_delete(Chip* c) { delete c; }
API uint64_t nl_cycle(Chip* c) { return c->cycle; }
API uint64_t nl_evaluated(Chip* c) { return c->evaluated; }
API void nl_set(Chip* c, int32_t net, Word value) { c->drive(net, value); }
API Word nl_get(Chip* c, int32_t net) { c->settle(); return c->value[net]; }

// Copies of the chip in which a lookup table has other contents.
API void nl_change(Chip* c, int32_t node, Word copies, uint32_t init) {
    Node& n = c->nodes[node];
    if (!n.changes) c->owned.push_back(n.changes = new std::vector<Change>);
    n.changes->push_back({copies, init, 0});
    c->wait(node);
    c->settle();
}

// Copies in which a register is spoilt; `how`: 0 and 1 stuck, 2 input inverted, 3 enable ignored, 4 reset ignored.
API void nl_spoil(Chip* c, int32_t part, Word copies, int32_t how) {
    Register& r = c->registers[c->parts[part].index];
    Word* masks[] = {&r.low, &r.high, &r.inverted, &r.no_ce, &r.no_lsr};
    *masks[how] |= copies;
    Word q = c->value[r.q], to = (q & ~r.low) | r.high;
    r.excited |= q ^ to;
    c->drive(r.q, to);
    c->wait_for_clock(part);
    c->settle();
}

// Copies in which what was changed or spoilt ever made a difference there.
API Word nl_excited(Chip* c) {
    Word found = 0;
    for (auto* changes : c->owned) for (auto& change : *changes) found |= change.excited;
    for (auto& r : c->registers) found |= r.excited;
    return found;
}

// Counts from now on how often each net changes.
API void nl_watch(Chip* c) { if (!c->toggles) c->toggles = new std::vector<uint64_t>(c->value.size(), 0); }
API void nl_toggles(Chip* c, uint64_t* to) { memcpy(to, c->toggles->data(), c->toggles->size() * sizeof(uint64_t)); }

API void nl_line(Chip* c, int32_t rx, int32_t tx, double cycles) {
    c->uart.rx = rx;
    c->uart.tx = tx;
    c->uart.cycles = cycles;
    c->drive(rx, ALL);
}

API void nl_send(Chip* c, const uint8_t* data, uint64_t size) { c->uart.sent.insert(c->uart.sent.end(), data, data + size); }
API uint64_t nl_unsent(Chip* c) { return c->uart.sent.size(); }
API uint64_t nl_broken(Chip* c) { return c->uart.broken; }
API uint64_t nl_received(Chip* c) { return c->uart.received.size(); }

API void nl_take(Chip* c, uint8_t* data) {
    memcpy(data, c->uart.received.data(), c->uart.received.size());
    c->uart.received.clear();
}

API uint64_t nl_edges(Chip* c) { return c->edges.size(); }
API void nl_take_edges(Chip* c, uint64_t* to) { memcpy(to, c->edges.data(), c->edges.size() * sizeof(Edge)); }

// Runs so many cycles at most; ends before if that many bytes have been received and none is left to send.
API void nl_run(Chip* c, uint64_t cycles, uint64_t bytes) {
    for (uint64_t end = c->cycle + cycles; c->cycle < end;) {
        if (bytes && c->uart.received.size() >= bytes && c->uart.sent.empty()) return;
        c->step();
    }
}
