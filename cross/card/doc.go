// Package card brings slots, supervisor and health together: which agent runs on
// the card, and how it is replaced by another without touching traffic, with
// an automatic return when the other proves bad.
package card
