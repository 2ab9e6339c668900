// Package capture records what goes over the lab's links and answers questions
// about it: which destinations traffic had, whether anything was encapsulated,
// which Mobility Headers were exchanged.
//
// Frames come from a kernel ring with the kernel's time stamps; each frame of a
// link is seen once, whichever way it goes. A capture that had to drop frames
// proves nothing and says so.
package capture
