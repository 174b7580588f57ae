// Command bench measures Culvert against the limit of the path and against what a user would pick instead,
// side by side in one run on one machine, and writes a report with plots.
//
//	bench run    every row of the table of goals that can be measured here
//	bench peers  the same load into the peers, in the same lab on the same CPUs
//
// It makes a lab of two network namespaces and a veth pair, pins the sender and the sink to the first CPU and
// the receiver to the next ones, and counts exactly: what the sender says it sent against what the receiver's
// own ledger says came through.
package main
