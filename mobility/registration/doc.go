// Package registration holds the pure machines of VM Mobility Registration:
// the requester with its retransmissions, the responder with its order of
// checks and cached Replies, heartbeats and the clock offset.
//
// A Node is one program's end of all its conversations. It has no goroutine,
// socket, clock or log: it is told what happened (Receive, Submit, Answer,
// Tick) with the time of it, and says what to do as Effects. What a Request
// means is the caller's business: the Node only puts the question (Ask) after
// every check that needs no knowledge of VMs has passed, and takes the Answer.
//
// Sources: RFC 5213 sections 5.3, 5.5, 6.9; RFC 5847; RFC 6275 section 11.8;
// docs/protocol.md sections 2 to 6.
package registration
