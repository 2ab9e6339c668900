// Package bluefield holds what puts the agent on an NVIDIA BlueField: the part of
// a bf.cfg that installs the package while the card's system is written, the
// fragment that builds a whole boot stream, and the pod for the card's kubelet.
package bluefield
