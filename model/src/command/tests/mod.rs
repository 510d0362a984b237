mod adopting;
mod joining;
mod moving;
mod power;
mod rules;
mod tasks;
mod vms;
mod volumes;
