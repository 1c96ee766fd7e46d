"""From components to Verilog and to models that run at full speed."""
