"""The trust stack: the layers under a workload, whose each is, and what is proved, assumed or not protected.

``classic`` has the stacks that prove nothing, ``keep`` those of a Keep, by design or from evidence. A `Stack` says the
same to everybody: ``jsonform`` to programs, ``terminal``, ``page`` (HTML) and ``picture`` (SVG) to people, in the
languages of ``words``. Nothing here connects, measures or launches: the command line hands the evidence in.
"""
