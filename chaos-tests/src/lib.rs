//! Who breaks: the simulator of whole clusters on virtual time, and fault scenarios on real processes. What
//! is here so far are the tests of the rooms themselves; the simulator begins when `pvcd` is assembled.
