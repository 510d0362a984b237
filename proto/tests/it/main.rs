//! The conversions, from outside: round trips of anything that the model can hold, stored bytes of released
//! versions, and what is refused.

mod generate;
mod generate_network;
mod goldens;
mod networks;
mod refused;
mod round_trip;
mod views;
