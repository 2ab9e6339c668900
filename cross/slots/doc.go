// Package slots keeps two signed bundles on a card and decides which of them
// runs. The files, all in one folder of the configuration partition:
//
//	a.bundle, b.bundle   the slots, each a bundle as it was signed
//	state                which slot is active, and which is on trial
//	fuse                 the lowest version that may run
//	incoming, *.tmp      half-written; of no meaning after a power cut
//
// Every change is one file written aside, synced, renamed over the old one, and
// the folder synced: a power cut leaves the one or the other. A slot is read
// and checked whole, signature and sums, each time it is started. When neither
// slot can run, the caller has the programs of the image itself.
package slots
