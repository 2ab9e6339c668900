// Package faults breaks whole data centres on purpose: its tests kill programs
// at every step of a move, fill tables and disks, damage stores and regions,
// and send what nobody should send. The programs are the real ones, in the
// namespaces of package topology; every figure is counted at the endpoints.
//
//	go test ./testbed/faults                dead times of a few seconds
//	go test ./testbed/faults -args -long    dead times of minutes, as the profile asks
//	go test ./testbed/faults -args -bin DIR with the programs in DIR instead of fresh ones
//
// # What is not tested here: clock steps
//
// The programs take the time from the kernel, CLOCK_REALTIME belongs to the
// whole machine (time namespaces have monotonic and boot time only), and static
// programs cannot be given another clock from outside. A step of a clock on
// either side is therefore proved where time is a value, in the pure
// registration.Node: mobility/registration/testdata/clock.txt steps the clock of
// a hypervisor by seconds and by an hour, master_clock.txt that of the
// management node, and TestTimestampsNeverGoBack repeats it at random. What a
// wrong clock looks like on the wire is sent here, by TestBadInput.
package faults
