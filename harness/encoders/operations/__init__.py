"""Operations of compiled plans: outputs, JVPs and VJPs written by hand, and a table of them."""
