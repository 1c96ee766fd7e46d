// Behaviour of a SPI flash of 2**ADDRESS_BITS bytes, mode 0: commands as `arch.flash.Command` lists them. It sleeps at first. While
// it is busy it answers nothing but its status; what it cannot do it ignores, as real chips do. `load` sets a byte at any time.
module fireline_flash #(
    parameter ADDRESS_BITS = 22,
    parameter PROGRAM_CYCLES = 500,
    parameter SECTOR_CYCLES = 1500,
    parameter ERASE_CYCLES = 5000
) (
    input clk,
    input cs_n, sck, copi,
    output reg cipo,
    input load,
    input [ADDRESS_BITS-1:0] load_address,
    input [7:0] load_data
);
    localparam PROGRAM = 8'h02, READ = 8'h03, STATUS = 8'h05, WRITE_ENABLE = 8'h06, ERASE = 8'hD8, SECTOR = 8'h20, RELEASE = 8'hAB,
        IDENTIFY = 8'h9F;

    reg [7:0] bytes [0:(1 << ADDRESS_BITS) - 1];
    reg [7:0] page [0:255];
    reg [255:0] given = 0;
    reg [31:0] busy = 0, count = 0;                 // cycles left; bits of this exchange
    reg [ADDRESS_BITS-1:0] address = 0;
    reg [7:0] command = 0, in = 0, out = 8'hFF;
    reg enabled = 0, asleep = 1, sck_before = 0, cs_n_before = 1;
    integer n;
    initial for (n = 0; n < 1 << ADDRESS_BITS; n = n + 1) bytes[n] = 8'hFF;

    always @(posedge clk) begin
        if (busy != 0) begin
            busy = busy - 1;
            if (busy == 0) enabled = 0;
        end
        if (!cs_n && cs_n_before) begin
            count = 0;
            given = 0;
            out = 8'hFF;
        end
        if (!cs_n && sck && !sck_before) begin
            in = {in[6:0], copi};
            count = count + 1;
            if (count == 8) begin
                command = in;
                if (command == RELEASE) asleep = 0;
                if (asleep || (busy != 0 && command != STATUS)) command = 0;
            end
            if (count[2:0] == 0 && count > 8) begin
                if (count <= 32) address = {address, in};
                else if (command == PROGRAM) begin
                    page[address[7:0]] = in;
                    given[address[7:0]] = 1;
                    address[7:0] = address[7:0] + 1;
                end else if (command == READ) address = address + 1;
            end
            if (count[2:0] == 0)                    // what goes back with the next byte
                case (command)
                    READ: out = count >= 32 ? bytes[address] : 8'hFF;
                    STATUS: out = {6'd0, enabled, busy != 0};
                    IDENTIFY: out = count == 8 ? 8'hEF : count == 16 ? 8'h40 : 8'h18;
                    default: out = 8'hFF;
                endcase
        end
        if (!cs_n && !sck && sck_before) begin
            cipo <= out[7];
            out = {out[6:0], 1'b1};
        end
        if (cs_n && !cs_n_before) begin
            if (command == WRITE_ENABLE && count == 8) enabled = 1;
            if (command == PROGRAM && enabled && count > 32 && count[2:0] == 0) begin
                for (n = 0; n < 256; n = n + 1)
                    if (given[n]) bytes[{address[ADDRESS_BITS-1:8], n[7:0]}] = bytes[{address[ADDRESS_BITS-1:8], n[7:0]}] & page[n];
                busy = PROGRAM_CYCLES;
            end
            if (command == ERASE && enabled && count == 32) begin
                for (n = 0; n < 65536; n = n + 1) bytes[{address[ADDRESS_BITS-1:16], n[15:0]}] = 8'hFF;
                busy = ERASE_CYCLES;
            end
            if (command == SECTOR && enabled && count == 32) begin
                for (n = 0; n < 4096; n = n + 1) bytes[{address[ADDRESS_BITS-1:12], n[11:0]}] = 8'hFF;
                busy = SECTOR_CYCLES;
            end
            command = 0;
        end
        if (load) bytes[load_address] = load_data;
        sck_before = sck;
        cs_n_before = cs_n;
    end
endmodule
