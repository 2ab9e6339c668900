// Package nicmem gives out bounded regions of NIC memory.
//
// A region is a file on tmpfs or hugetlbfs that is mapped into the process: it
// has a fixed size, all of it reserved when it is created, and survives the
// process. Its header names the areas into which it is divided; each of them is
// an hwabstraction.Region for one user, such as the Binding Update List or the
// Journal.
//
// A region belongs to one process at a time (flock), and to one boot: what an
// earlier boot left speaks of rules that are gone, and is discarded.
package nicmem
