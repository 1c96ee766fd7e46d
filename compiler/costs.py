"""What the compiler assumes about time, and how far it searches: every tuned number, with what it was tuned on.

No program is wrong because of a number here; it may be slow, or take long to find. `golden.cycles` knows exact cycles, and
tests.compiler.test_figures holds those of the real networks.

"x: +a, +b" is what value x instead added, when it was tuned, to the predicted cycles of SqueezeNet v1.1 on ulx3s-25f, where maps
spill (11.74 M), and on ulx3s, where they do not (1.39 M). Numbers without it were not measured alone.
"""

# compiler.lowering.sparse
SPREAD_READS = 1.5          # times the words that stages for each word of the output read: what one stage instead of them may;
                            # 1.2: ShuffleNet v1 3.38 M cycles instead of 3.30 M; 3: light_shufflenet 4.45 M instead of 3.58 M

# compiler.schedule.steps
HANDOVER_CYCLES = 25        # beyond the pipeline: last beat of a command -> first beat of the one that waits for its token

# compiler.schedule.orders
PINNED_SHARES = 0.3, 0.8, 1    # of the weight memory for weights that stay while others stream: fewer commands, or less traffic
                            # 0.8 alone: +1,429, 0
CHUNKS_HELD = 4             # chunks that the weight memory holds when weights stream: one in use, others on their way
                            # for a stage alone 3: -12,010, 0; 8: -860, -14
FEW_CHUNKS_HELD = 2         # and where each is there long before the one before it is through
FEW_CHUNKS_SHARE = 0.5      # of storage's words that such weights take at most; 0: +34,505, 0
CHUNK_SHARES = 0.5, 1       # of the weight memory for a chunk's weights of several stages: the next one's come meanwhile, or not

# compiler.schedule.search
GROUP_STAGES = 12           # stages of a group at most; 16: -1,615, 0, but ShuffleNet v2 takes 115 s instead of 71
WHOLE_STAGES = 16           # but networks of no more stages may be one group: 3 % less of the digits' cycles
GROUPS_TRIED = 3300          # of all stages: of long networks groups are shorter, for their schedule takes minutes to find;
                            # DenseNet-169 has 255 stages
STREAMED_WEIGHTS = 3        # times the weight memory: weights of a group at most; 1: +29,331, 0
BAND_ROWS = 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20, 28, 1023        # rows of a group's last map in a band
                            # that are tried; 1, 2, 4, 8, 16, 1023 alone: 0, +3,029
BANDS_TRIED = 8             # heights of bands that are tried for a stage alone
CHUNK_WORDS = 6             # words of a pixel that are stored together where not all have room: more are stored too late
                            # 1: -448, 0; 12: +2,347, 0

# compiler.schedule.groups
GROUP_LOAD_SHARE = 0.93     # of the storage's words that long loads reach
GROUP_RUN_CYCLES = 14       # lost by a run of a transfer that does not follow on
SPILL_CYCLES = 2, 1, 0.5, 0 # for each word of a spilled buffer that is moved: what is through first of these is kept;
                            # 0 alone: +68,794, +92,597; 2 alone: 0, 0, but 1 % more of ResNet-18, 4 % of GoogLeNet
GROUP_CYCLES = 200          # a group's start, so that of equal schedules the one with fewer groups is taken

# compiler.schedule.place
MEMORY_SHARES = 1, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7      # of the activation memory to plan for, until places are found
PLACE_TRIES = 400           # orders in which maps are placed

# compiler.jobs
WEIGHT_TRANSFER_WORDS = 2048        # of storage in a transfer of weights, behind which something more urgent may have to wait

# compiler.coding
TABLE_WORDS = 200           # of storage that stages' weights become longer by at most, so that they share a table
BLOCK_WORDS = 21            # of storage that a block has beside its weights' bits
BLOCK_CYCLES = 25           # of the decoder for a block, beside its rounds
CODED_GAIN = 0.05           # of the cycles: by so much a frame with compressed weights must seem faster to be taken unseen
CODED_BYTES = 1.06          # times the order-0 entropy of weights: what they take compressed, at most (docs/weight_stream.md)
CODED_TRIES = 8             # with fewer and fewer stages compressed, until a frame takes no longer than with plain weights
STREAM_WORDS = 1024         # that wait for the decoder at most

# compiler.build
PLAN_GAIN = 0.002           # of the cycles: by so much a schedule that spills more must seem faster

# compiler.jobs.timing
LOAD_SHARE = 0.94           # of a storage word a cycle, in long transfers
TRANSFER_CYCLES = 25        # until a transfer's first word is there
STORE_SHARE = 0.25          # of storage's words that a store gets beside a load
RUN_CYCLES = 12             # lost by each further run
ISSUE_CYCLES = 12           # command taken by an idle engine -> first beat
TOKEN_CYCLES = 6            # token given -> the command that waits for it taken
LOADS_AHEAD = 64            # that wait for their compute command, so that the sequencer never waits for room in the load queue
LOADS_TRIED = 256           # loads that are looked at
