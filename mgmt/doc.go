// Package mgmt is the management node's mind: the binding cache, the moves and
// what is owed to hypervisors and routers because of them.
//
// A Core is pure: it is told what happened (Step) and says what to do
// (effects). It has no goroutine, socket, clock or log. Everything it must not
// forget is in records, which change by Commit effects; what depends on a
// record being durable (an answer, a message) leaves only after the Committed
// event. After a restart Restore takes the records back and the Core goes on
// where it was: which messages are owed is computed from the records alone,
// each time, so the outbox cannot disagree with them.
//
// docs/moves.md says message by message what is done here.
package mgmt
