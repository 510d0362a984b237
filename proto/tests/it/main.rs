//! The conversions, from outside: round trips of anything that the model can hold, stored bytes of released
//! versions, and what is refused.

mod generate;
mod goldens;
mod refused;
mod round_trip;
mod views;
