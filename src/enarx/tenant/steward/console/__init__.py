"""The Steward's console: pages for people at ``/console``, off unless the policy names readers, and read-only.

``app`` is the way in: routes, headers, who is signed in; ``pages`` makes what each page shows, ``queries`` what it asks
of the database. The templates escape whatever they are given: no value is marked as safe.
"""
