package wire

import (
	"errors"
	"fmt"
)

// Kind says why a message was refused. Its text is stable, in snake case: it
// labels the counter of silent drops. A Kind is an error, so that callers may
// write errors.Is(err, wire.KindTrailingBytes).
type Kind uint8

// Reasons to refuse a message.
const (
	KindOther           Kind = iota // an error that is not this package's
	KindShortMessage                // fewer bytes than the header says, or than a header needs
	KindTrailingBytes               // more bytes than the header says
	KindPayloadProto                // payload proto is not 59
	KindUnknownType                 // MH Type is not one of ours: Binding Error 2
	KindHeaderLength                // header length is below the type's fixed part
	KindOptionOverrun               // an option runs past the end of the message
	KindOptionShort                 // an option is below its minimum length
	KindOptionDuplicate             // a second option where one is allowed
	KindOptionAfterAuth             // an option or pad behind the authenticator
	KindChecksum                    // checksum mismatch
	KindAuthMissing                 // no Authentication option
	KindAuthSubtype                 // Authentication subtype is not 1
	KindAuthSPI                     // SPI is not the key's
	KindAuthMismatch                // authenticator is wrong, or of a wrong length
	KindMessageTooLong              // (encoding) more than MaxLen bytes
	KindOptionValue                 // (encoding) a value that the option cannot carry
	KindUnencodable                 // (encoding) a message without a known type
	kindEnd
)

var kindNames = [kindEnd]string{
	"other", "short_message", "trailing_bytes", "payload_proto", "unknown_type", "header_length",
	"option_overrun", "option_short", "option_duplicate", "option_after_auth", "checksum",
	"auth_missing", "auth_subtype", "auth_spi", "auth_mismatch",
	"message_too_long", "option_value", "unencodable",
}

// String gives the stable label.
func (k Kind) String() string {
	if k < kindEnd {
		return kindNames[k]
	}
	return kindNames[KindOther]
}

// Error makes a Kind a sentinel for errors.Is.
func (k Kind) Error() string { return "wire: " + k.String() }

// Error is what every function of this package returns when it refuses. It
// unwraps to its Kind.
type Error struct {
	Kind   Kind
	Type   Type       // message type, as far as it was read
	Option OptionType // the option concerned, for the option kinds
	Offset int        // byte offset of the option, or 0
	Got    int        // bytes there, or the value found
	Want   int        // bytes needed, or the value wanted
	Detail string     // for people; replaces the figures when set
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return "wire: " + e.Detail
	}
	switch e.Kind {
	case KindShortMessage:
		return fmt.Sprintf("wire: message: %s short", bytesText(e.Want-e.Got))
	case KindTrailingBytes:
		return fmt.Sprintf("wire: message: %s trailing", bytesText(e.Got-e.Want))
	case KindPayloadProto:
		return fmt.Sprintf("wire: payload proto %d, want %d", e.Got, e.Want)
	case KindUnknownType:
		return fmt.Sprintf("wire: unknown MH type %d", uint8(e.Type))
	case KindHeaderLength:
		return fmt.Sprintf("wire: %s: header of %s, want at least %d", e.Type, bytesText(e.Got), e.Want)
	case KindOptionOverrun:
		return fmt.Sprintf("wire: option %d: %s short", uint8(e.Option), bytesText(e.Want-e.Got))
	case KindOptionShort:
		return fmt.Sprintf("wire: option %d: length %d, want at least %d", uint8(e.Option), e.Got, e.Want)
	case KindOptionDuplicate:
		return fmt.Sprintf("wire: option %d: duplicate at byte %d", uint8(e.Option), e.Offset)
	case KindOptionAfterAuth:
		return fmt.Sprintf("wire: option %d: behind the authenticator, at byte %d", uint8(e.Option), e.Offset)
	case KindChecksum:
		return fmt.Sprintf("wire: checksum %#04x, want %#04x", e.Got, e.Want)
	case KindMessageTooLong:
		return fmt.Sprintf("wire: message of %s, at most %d", bytesText(e.Got), e.Want)
	}
	return e.Kind.Error()
}

// Unwrap gives the Kind.
func (e *Error) Unwrap() error { return e.Kind }

func bytesText(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// DropReason gives the stable label of err for a counter: that of its Kind,
// "other" for an error of another package, and "" for nil.
func DropReason(err error) string {
	if err == nil {
		return ""
	}
	var k Kind
	errors.As(err, &k)
	return k.String()
}

// DropReasons lists every label that DropReason gives, so that counters can be
// registered at zero.
func DropReasons() []string { return append([]string(nil), kindNames[:]...) }

// UnknownType reports the MH Type that made Parse fail with KindUnknownType,
// for the Binding Error (status 2) that answers it.
func UnknownType(err error) (Type, bool) {
	var e *Error
	if errors.As(err, &e) && e.Kind == KindUnknownType {
		return e.Type, true
	}
	return 0, false
}
