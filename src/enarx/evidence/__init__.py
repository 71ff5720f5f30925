"""What a TEE says about itself and how it is checked; knows nothing of Keeps, hosts or services.

The same rooms for every technology: ``report`` (bytes to a frozen dataclass, no judgement), ``authenticate``
(signatures and chain, gives ``Authentic``), ``appraise`` (a policy's verdict with reasons) and ``measure`` (launch
files to the measurement to expect). Everything here is a pure function of its arguments: no network, no files, no
clock.
"""
