// Package probe is the packet that proves a way: a UDP datagram sent from one
// node and caught at another. It carries nothing but a token that only the
// management node and the two know, and nobody answers it: a probe cannot be
// made to multiply.
package probe
