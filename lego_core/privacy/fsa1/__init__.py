"""FSA1, the secure sum: a server learns the sum of the sites' vectors and nothing else of them.

Read it in this order:

    wire          how numbers and sets become bytes, and what separates one use of them from another
    sharing       a secret in many hands, of which some are enough (Shamir)
    keys          keys of one session, what is derived from them, who signed what
    fixed_point   real numbers as residues that add up exactly
    vectors       what a site adds: updates, and statistics of any size
    masks         words that look like noise, until all of them are added
    neighbours    who shares with whom, where sites are many
    descriptor    what a session is about
    limits        what a site accepts of it
    memory        what a site remembers of it, from process to process
    site, server  the two halves of a session

Nothing here reads a file, a clock or a network.
"""
