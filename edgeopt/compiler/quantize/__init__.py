"""Static int8 without labels: from a tidy float graph and samples to QDQ that the target's runtime fuses. Child side.

    normalise -> observe -> equalise -> ranges -> round weights -> correct biases -> emit -> fusion gate

`ladder` tries combinations and keeps what answers most like the float graph.
"""
