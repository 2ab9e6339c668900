package wire

import "time"

// Timestamp is the time of a Timestamp option: 48 bits of seconds since 1970
// (UTC), 16 bits of fraction. Two of them compare as numbers. One unit is
// 15.26 microseconds.
type Timestamp uint64

// TimestampOf rounds t down to the unit. Times before 1970 give 0, times past
// the range its end.
func TimestampOf(t time.Time) Timestamp {
	sec := t.Unix()
	switch {
	case sec < 0:
		return 0
	case sec >= 1<<48:
		return 1<<64 - 1
	}
	return Timestamp(uint64(sec)<<16 | uint64(t.Nanosecond())<<16/1e9)
}

// Time converts to a time in UTC, rounded up to the nanosecond: TimestampOf
// gives the same Timestamp back.
func (t Timestamp) Time() time.Time {
	ns := (uint64(t&0xffff)*1e9 + 0xffff) >> 16
	return time.Unix(int64(t>>16), int64(ns)).UTC()
}

// String gives RFC 3339 with nanoseconds.
func (t Timestamp) String() string { return t.Time().Format(time.RFC3339Nano) }

// NTPTime is an NTP timestamp (RFC 5905 section 6): 32 bits of seconds since
// 1900, 32 bits of fraction. It counts round in 2036; a first bit of 0 is read
// as a time from then on.
type NTPTime uint64

const (
	ntpOffset = 2208988800 // seconds from 1900 to 1970
	ntpEra    = 1 << 32    // seconds
)

// NTPTimeOf rounds t down to the unit, modulo the era.
func NTPTimeOf(t time.Time) NTPTime {
	sec := uint32(t.Unix() + ntpOffset)
	return NTPTime(uint64(sec)<<32 | uint64(t.Nanosecond())<<32/1e9)
}

// Time converts to a time between 1968 and 2104 in UTC, rounded up to the
// nanosecond, so that NTPTimeOf(t).Time() is t.
func (n NTPTime) Time() time.Time {
	sec := int64(n >> 32)
	if sec < 1<<31 {
		sec += ntpEra
	}
	ns := (uint64(uint32(n))*1e9 + (1<<32 - 1)) >> 32
	return time.Unix(sec-ntpOffset, int64(ns)).UTC()
}

// String gives RFC 3339 with nanoseconds.
func (n NTPTime) String() string { return n.Time().Format(time.RFC3339Nano) }
