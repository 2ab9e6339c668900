// Package sim runs the pure cores of the management node, the agents and the
// routers against each other, over a model of the fabric, under a virtual clock
// and a network that loses, repeats, reorders, delays and partitions. Any node
// may die between any two of its effects.
//
// A Schedule is a seed and a list of timed operations and faults; it has a text
// form. One Schedule gives one history, byte for byte. Run says whether an
// invariant broke in it: Shrink then takes away what the failure does not need.
//
//	go test ./testbed/sim -run TestSchedules -seeds 100000
//	go test ./testbed/sim -run TestTrace -seed 4711 -seeds 1 -v
//	go test ./testbed/sim -run TestReplay -replay failing.txt -v
//
// # What is real
//
// Every message is encoded and parsed by mobility/wire. Agents program a
// haltest.Chaos through agent.Hands and offload.Reconciler; their records go
// through the form of the Binding Update List at every restart, and through
// JSON at a reboot. The management node's records go through its store.
//
// # Room
//
// In a quarter of the histories without cold moves some routers take few host
// routes, and say so or not; agents report made-up traffic. At one that does not
// say so one more route is tried now and then, also at rest.
//
// # What is checked
//
// After every event that may have changed forwarding: no packet to an address of
// a VM, or to a delivery address, goes in circles; none reaches another VM; at
// most one place delivers; no lower epoch wins; nothing that was acknowledged is
// forgotten; and, while nothing was lost on purpose, a packet from anywhere to a
// live address is delivered where the VM is, or held for it.
//
// Once faults have stopped and time has passed: every live address is reached
// from everywhere with at most one rewriting; nothing is left of renumbered
// addresses; kept ones are redirected from their home; everybody is idle.
package sim
