// Package etcd keeps the management node's records in an etcd cluster, for sites
// where one machine is not enough. Replicas of the management node are equal and
// hold nothing: one of them leads, by a lease in etcd, and the others wait in
// Open. Every write names the leadership under which it was made, and etcd refuses
// it once another replica leads: a replica that was away too long can change
// nothing, whatever it believes. The consensus is etcd's; there is none here.
//
// Keys, below Config.Prefix:
//
//	schema              version of the records, 4 bytes, big-endian
//	records/KIND/KEY    one record
//	pending/N           part N of a transaction too large for one of etcd's
//	leader/LEASE        who leads, and who waits for it
package etcd
