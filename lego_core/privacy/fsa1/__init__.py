"""FSA1, the secure sum: a server learns the sum of the sites' vectors and nothing else of them.

Read it in this order:

    wire          how numbers and sets become bytes, and what separates one use of them from another
    sharing       a secret in many hands, of which some are enough (Shamir)
    keys          keys of one session, what is derived from them, who signed what
    fixed_point   real numbers as residues that add up exactly
    masks         residues that look like noise, until all of them are added

Nothing here reads a file, a clock or a network.
"""
