// Package wire is the Mobility Header codec (RFC 6275 section 6.1): the message
// types and options of the protocol profile, checksum and authenticator.
//
// One [Message] is reused for any number of messages. [Message.Parse] makes it
// a view of the bytes given, without copying or allocating; [Message.Reset] and
// the Add methods build one in a buffer that the Message owns. [Message.Append]
// writes either: a built message gets the pads that align its options, a parsed
// one comes out byte for byte as it came in, unknown options and pads included.
//
// Nothing here does I/O or reads a clock. A Message is for one goroutine at a
// time; a [Key] may be shared.
package wire
