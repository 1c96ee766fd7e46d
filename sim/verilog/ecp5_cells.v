// Models of the cells that Yosys and hw/ecp5 use, for simulating synthesised netlists. Written from
// Lattice's FPGA-DS-02012 (family data sheet, slices), FPGA-TN-02204 (memory) and FPGA-TN-02205 (sysDSP).
// They cover what is used: one clock, synchronous resets, NORMAL write mode, no cascades of hard blocks.

module LUT4 (input A, B, C, D, output Z);
    parameter [15:0] INIT = 0;
    assign Z = INIT[{D, C, B, A}];
endmodule

module PFUMX (input ALUT, BLUT, C0, output Z);
    assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (input D0, D1, SD, output Z);
    assign Z = SD ? D1 : D0;
endmodule

// Two bits of a carry chain. A bit propagates where its lookup table gives 1; else its carry is the
// lower quarter of the table, a function of A and B alone.
module CCU2C (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
    parameter [15:0] INIT0 = 0;
    parameter [15:0] INIT1 = 0;
    parameter INJECT1_0 = "YES";
    parameter INJECT1_1 = "YES";
    wire p0 = INIT0[{D0, C0, B0, A0}], p1 = INIT1[{D1, C1, B1, A1}];
    wire g0 = INIT0[{2'b00, B0, A0}] & (INJECT1_0 != "YES"), g1 = INIT1[{2'b00, B1, A1}] & (INJECT1_1 != "YES");
    wire carry = p0 ? CIN : g0;
    assign S0 = p0 ^ (CIN & (INJECT1_0 != "YES"));
    assign S1 = p1 ^ (carry & (INJECT1_1 != "YES"));
    assign COUT = p1 ? carry : g1;
endmodule

module TRELLIS_FF (input CLK, LSR, CE, DI, M, output reg Q);
    parameter GSR = "ENABLED";
    parameter CEMUX = "1";
    parameter CLKMUX = "CLK";
    parameter LSRMUX = "LSR";
    parameter SRMODE = "LSR_OVER_CE";
    parameter REGSET = "RESET";
    localparam value = REGSET == "SET";
    initial Q = value;
    always @(posedge CLK)
        if (LSR ^ (LSRMUX == "INV")) Q <= value;
        else if (CEMUX == "1" | CE ^ (CEMUX == "INV")) Q <= DI;
endmodule

module TRELLIS_DPR16X4 (input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO);
    parameter WCKMUX = "WCK";
    parameter WREMUX = "WRE";
    parameter [63:0] INITVAL = 0;
    reg [63:0] words = INITVAL;
    always @(posedge WCK) if (WRE ^ (WREMUX == "INV")) words[{WAD, 2'b00} +: 4] <= DI;
    assign DO = words[{RAD, 2'b00} +: 4];
endmodule

module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_RST = "RST0";
    parameter GSR = "ENABLED";

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [19:0] a_held, b_held;
    reg [35:0] p_piped, p_held;
    wire [19:0] a_in = {{2{SIGNEDA & a[17]}}, a};
    wire [19:0] b_in = {{2{SIGNEDB & b[17]}}, b};
    wire signed [19:0] a_used = REG_INPUTA_CLK == "NONE" ? a_in : a_held;
    wire signed [19:0] b_used = REG_INPUTB_CLK == "NONE" ? b_in : b_held;
    wire signed [39:0] product = a_used * b_used;
    wire [35:0] p_out = REG_PIPELINE_CLK == "NONE" ? product[35:0] : p_piped;
    always @(posedge CLK0)
        if (RST0) begin
            a_held <= 0; b_held <= 0; p_piped <= 0; p_held <= 0;
        end else if (CE0) begin
            a_held <= a_in; b_held <= b_in; p_piped <= product[35:0]; p_held <= p_out;
        end
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
            P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
        = REG_OUTPUT_CLK == "NONE" ? p_out : p_held;
endmodule

module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG";
    parameter REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter WRITEMODE_A = "NORMAL";
    parameter WRITEMODE_B = "NORMAL";
    parameter CSDECODE_A = "0b000";
    parameter CSDECODE_B = "0b000";
    parameter CLKAMUX = "CLKA";
    parameter CLKBMUX = "CLKB";
    parameter GSR = "ENABLED";

    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire ena = CEA & ~CSA2 & ~CSA1 & ~CSA0;
    wire enb = CEB & ~CSB2 & ~CSB1 & ~CSB0;

    // A block is 1024 rows of two 9-bit bytes; the narrow shapes leave each byte's ninth bit unused.
    reg [17:0] rows [0:1023];
    integer n;
    initial for (n = 0; n < 1024; n = n + 1) rows[n] = 0;

    // What a write of `width` bits at pin address `at` changes in an 18-bit row, and with what.
    function [17:0] mask(input integer width, input [13:0] at);
        case (width)
            18: mask = {{9{at[1]}}, {9{at[0]}}};
            9: mask = at[3] ? 18'h3fe00 : 18'h001ff;
            4: mask = 18'h0000f << ((at[3] ? 9 : 0) + (at[2] ? 4 : 0));
            2: mask = 18'h00003 << ((at[3] ? 9 : 0) + {at[2:1], 1'b0});
            default: mask = 18'h00001 << ((at[3] ? 9 : 0) + at[2:0]);
        endcase
    endfunction
    function [17:0] spread(input integer width, input [17:0] value);
        case (width)
            18: spread = value;
            9: spread = {2{value[8:0]}};
            4: spread = {2{1'b0, value[3:0], value[3:0]}};
            2: spread = {2{1'b0, {4{value[1:0]}}}};
            default: spread = {2{1'b0, {8{value[0]}}}};
        endcase
    endfunction
    function [17:0] pick(input integer width, input [13:0] at, input [17:0] row);
        case (width)
            18: pick = row;
            9: pick = at[3] ? row[17:9] : row[8:0];
            4: pick = (row >> ((at[3] ? 9 : 0) + (at[2] ? 4 : 0))) & 15;
            2: pick = (row >> ((at[3] ? 9 : 0) + {at[2:1], 1'b0})) & 3;
            default: pick = (row >> ((at[3] ? 9 : 0) + at[2:0])) & 1;
        endcase
    endfunction

    reg [17:0] a_read, b_read, a_held, b_held;
    wire [17:0] a_now, b_now;
    generate if (DATA_WIDTH_A == 36) begin
        // Port A writes pairs of rows, port B reads them: low halves on the A pins, high halves on the B pins.
        always @(posedge CLKA) if (ena & WEA) begin
            rows[{ada[13:5], 1'b0}] <= (rows[{ada[13:5], 1'b0}] & ~mask(18, {12'b0, ada[1:0]})) | (dia & mask(18, {12'b0, ada[1:0]}));
            rows[{ada[13:5], 1'b1}] <= (rows[{ada[13:5], 1'b1}] & ~mask(18, {12'b0, ada[3:2]})) | (dib & mask(18, {12'b0, ada[3:2]}));
        end
        always @(posedge CLKB) begin
            if (RSTB) begin
                a_read <= 0; b_read <= 0;
            end else if (enb) begin
                a_read <= rows[{adb[13:5], 1'b0}]; b_read <= rows[{adb[13:5], 1'b1}];
            end
            if (RSTB) begin
                a_held <= 0; b_held <= 0;
            end else if (OCEB) begin
                a_held <= a_read; b_held <= b_read;
            end
        end
    end else begin
        always @(posedge CLKA) begin
            if (ena & WEA)
                rows[ada[13:4]] <= (rows[ada[13:4]] & ~mask(DATA_WIDTH_A, ada)) | (spread(DATA_WIDTH_A, dia) & mask(DATA_WIDTH_A, ada));
            if (RSTA) a_read <= 0;
            else if (ena & ~WEA) a_read <= pick(DATA_WIDTH_A, ada, rows[ada[13:4]]);
            if (RSTA) a_held <= 0;
            else if (OCEA) a_held <= a_read;
        end
        always @(posedge CLKB) begin
            if (enb & WEB)
                rows[adb[13:4]] <= (rows[adb[13:4]] & ~mask(DATA_WIDTH_B, adb)) | (spread(DATA_WIDTH_B, dib) & mask(DATA_WIDTH_B, adb));
            if (RSTB) b_read <= 0;
            else if (enb & ~WEB) b_read <= pick(DATA_WIDTH_B, adb, rows[adb[13:4]]);
            if (RSTB) b_held <= 0;
            else if (OCEB) b_held <= b_read;
        end
    end endgenerate
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0}
        = REGMODE_A == "NOREG" ? a_read : a_held;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0}
        = REGMODE_B == "NOREG" ? b_read : b_held;
endmodule
