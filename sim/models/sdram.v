// Behaviour of a 16-bit SDRAM of four banks, burst length 1. Any rule that is broken stops the run and is printed.
//
// Times are counted in clocks and come from the ports t_*, so one compiled model serves all speeds. A row that was neither
// refreshed nor opened for t_retention clocks has lost its words. `load` sets 32 words at once, for a bench.
module fireline_sdram #(
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9
) (
    input clk,
    input cke, cs_n, ras_n, cas_n, we_n,
    input [1:0] ba,
    input [12:0] a,
    input [1:0] dqm,
    input [15:0] dq_i,                  // driven by the controller while dq_oe
    input dq_oe,
    input lost, garbled,                // at a wrong phase of its clock: nothing is understood; words that come are not right
    output reg [15:0] dq_o,             // of no meaning while the chip does not drive
    input [31:0] t_cas, t_rcd, t_rp, t_ras, t_rc, t_rfc, t_rrd, t_wr, t_mrd, t_interval, t_retention, t_power_up, t_refreshes,
    input load,
    input [ROW_BITS+COLUMN_BITS-4:0] load_address,
    input [511:0] load_data
);
    localparam COLUMNS = 1 << COLUMN_BITS;
    localparam ADDRESS_BITS = ROW_BITS + 2 + COLUMN_BITS;

    reg [15:0] words [0:(1 << ADDRESS_BITS) - 1];
    reg signed [63:0] kept [0:(4 << ROW_BITS) - 1];         // when a row was last refreshed or opened

    reg signed [63:0] now = 0;
    reg signed [63:0] powered = 0, activated_any = -1000000, refreshed = -1000000, mode_set = -1000000;
    reg signed [63:0] activated [0:3];
    reg signed [63:0] precharged [0:3];
    reg signed [63:0] written [0:3];
    reg [ROW_BITS-1:0] row [0:3];
    reg [3:0] open = 0;
    reg [3:0] closed_once = 0;          // precharged since power-up
    reg [31:0] refreshes = 0;
    reg mode_known = 0, watched = 0;
    reg [ROW_BITS-1:0] next_row = 0;
    reg [3:0] reading = 0;              // bit n: a word comes n clocks after now
    reg [15:0] word [0:3];
    reg drives = 0, drove = 0;
    reg [1:0] dqm_1 = 0, dqm_2 = 0;
    reg [ROW_BITS+1:0] line;
    reg [15:0] out;
    integer n;

    // Bits of a column go around A10.
    wire [12:0] place = COLUMN_BITS > 10 ? {1'b0, a[12:11], a[9:0]} : a;
    wire [COLUMN_BITS-1:0] column = place[COLUMN_BITS-1:0];

    initial for (n = 0; n < 4; n = n + 1) begin
        activated[n] = -1000000; precharged[n] = -1000000; written[n] = -1000000; row[n] = 0; word[n] = 0;
    end

    task automatic need(input ok, input [8*48-1:0] rule);
        if (!ok) $error("SDRAM: %0s, clock %0d, bank %0d", rule, now, ba);
    endtask

    task automatic settled;             // rules of every command but NOP
        need(now - mode_set >= $signed({32'd0, t_mrd}), "tMRD");
        need(now - refreshed >= $signed({32'd0, t_rfc}), "tRFC");
    endtask

    task automatic close(input integer bank);
        if (open[bank]) begin
            need(now - activated[bank] >= $signed({32'd0, t_ras}), "tRAS");
            need(now - written[bank] >= $signed({32'd0, t_wr}), "tWR");
            precharged[bank] = now;
        end
        open[bank] = 0;
        closed_once[bank] = 1;
        if (precharged[bank] < 0) precharged[bank] = now;
    endtask

    always @(posedge clk) begin
        dqm_2 = dqm_1;
        dqm_1 = dqm;

        if (lost) begin                 // what it does then is not known, nor in which mode it is
            open = 0; mode_known = 0; watched = 0; reading = 0;
        end else if (!cke) begin        // power-down: the start begins anew
            powered = now;
            open = 0; closed_once = 0; refreshes = 0; mode_known = 0; watched = 0; reading = 0;
        end else if (!cs_n && {ras_n, cas_n, we_n} != 3'b111) begin
            need(now - powered >= $signed({32'd0, t_power_up}), "power-up wait");
            settled;
            case ({ras_n, cas_n, we_n})
            3'b011: begin               // activate
                need(mode_known && refreshes >= t_refreshes && &closed_once, "activate before the start is complete");
                need(!open[ba], "activate of an open bank");
                need(now - precharged[ba] >= $signed({32'd0, t_rp}), "tRP");
                need(now - activated[ba] >= $signed({32'd0, t_rc}), "tRC");
                need(now - activated_any >= $signed({32'd0, t_rrd}), "tRRD");
                need(a < (1 << ROW_BITS), "row beyond the last");
                line = {a[ROW_BITS-1:0], ba};
                if (now - kept[line] > $signed({32'd0, t_retention}))
                    for (n = 0; n < COLUMNS; n = n + 1) words[{line, n[COLUMN_BITS-1:0]}] = words[{line, n[COLUMN_BITS-1:0]}] ^ 16'hA5C3;
                kept[line] = now;
                open[ba] = 1;
                row[ba] = a[ROW_BITS-1:0];
                activated[ba] = now;
                activated_any = now;
            end
            3'b101, 3'b100: begin       // read, write
                need(open[ba], "column of a closed bank");
                need(now - activated[ba] >= $signed({32'd0, t_rcd}), "tRCD");
                need(place < COLUMNS && (COLUMN_BITS <= 10 || !a[10]), "column beyond the last, or auto precharge");
                line = {row[ba], ba};
                if (we_n) begin
                    reading[t_cas-1] = 1;
                    word[t_cas-1] = words[{line, column}];
                end else begin
                    need(dq_oe, "write without data");
                    if (!dqm[0]) words[{line, column}][7:0] = dq_i[7:0];
                    if (!dqm[1]) words[{line, column}][15:8] = dq_i[15:8];
                    written[ba] = now;
                end
            end
            3'b010: begin               // precharge
                if (a[10]) for (n = 0; n < 4; n = n + 1) close(n);
                else close(ba);
            end
            3'b001: begin               // refresh
                need(!open, "refresh with an open bank");
                need(&closed_once, "refresh before precharge");
                for (n = 0; n < 4; n = n + 1) begin
                    need(now - precharged[n] >= $signed({32'd0, t_rp}), "tRP before refresh");
                    need(now - activated[n] >= $signed({32'd0, t_rc}), "tRC before refresh");
                    kept[{next_row, n[1:0]}] = now;
                end
                next_row = next_row + 1;
                if (refreshes != 32'hFFFFFFFF) refreshes = refreshes + 1;
                refreshed = now;
            end
            3'b000: begin               // mode register
                need(!open && &closed_once, "mode register with an open bank");
                for (n = 0; n < 4; n = n + 1) need(now - precharged[n] >= $signed({32'd0, t_rp}), "tRP before mode register");
                need(ba == 0 && a[12:10] == 0 && a[8:7] == 0, "reserved bits of the mode register");
                need(a[2:0] == 0, "burst length must be 1");
                need({29'd0, a[6:4]} == t_cas, "CAS latency of the mode register");
                mode_known = 1;
                mode_set = now;
            end
            default: need(0, "burst terminate");
            endcase
        end
        if (mode_known && refreshes >= t_refreshes) watched = 1;
        need(!watched || now - refreshed <= $signed({32'd0, t_interval}), "refresh interval");
        need(lost || !dq_oe || !(drives || drove), "data pins driven by both");

        // Word of a read that is due in the next clock.
        drove = drives;
        drives = reading[0];
        out = reading[0] ? word[0] : 16'hDEAD ^ now[15:0];
        if (garbled) out = out ^ (now[0] ? 16'h0401 : 16'h0080);
        if (dqm_2[0]) out[7:0] = ~now[7:0];
        if (dqm_2[1]) out[15:8] = ~now[15:8];
        dq_o <= out;
        reading = reading >> 1;
        for (n = 0; n < 3; n = n + 1) word[n] = word[n + 1];

        if (load) begin
            for (n = 0; n < 32; n = n + 1) words[{load_address, n[4:0]}] = load_data[16 * n +: 16];
            kept[load_address >> (COLUMN_BITS - 5)] = now;
        end
        now = now + 1;
    end
endmodule
