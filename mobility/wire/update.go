package wire

import "encoding/binary"

// UpdateReason says why an Update Notification is sent.
type UpdateReason uint16

// UpdateRegister asks the receiver to register again (RFC 7077 section 4.1:
// FORCE-REREGISTRATION).
const UpdateRegister UpdateReason = 1

// UpdateFlags are the flags of an Update Notification.
type UpdateFlags uint16

// UpdateAckWanted is the A flag: an acknowledgement is wanted.
const UpdateAckWanted UpdateFlags = 0x8000

// UpdateNotification is the fixed part of an Update Notification (RFC 7077
// section 4.1), from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |           Sequence #          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|      Notification Reason      |A|D|         Reserved          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type UpdateNotification struct {
	Sequence uint16
	Reason   UpdateReason
	Flags    UpdateFlags
}

func (u *UpdateNotification) parse(b []byte) {
	u.Sequence = binary.BigEndian.Uint16(b[6:])
	u.Reason = UpdateReason(binary.BigEndian.Uint16(b[8:]))
	u.Flags = UpdateFlags(binary.BigEndian.Uint16(b[10:]))
}

func (u *UpdateNotification) put(b []byte) {
	binary.BigEndian.PutUint16(b[6:], u.Sequence)
	binary.BigEndian.PutUint16(b[8:], uint16(u.Reason))
	binary.BigEndian.PutUint16(b[10:], uint16(u.Flags))
}

// UpdateAck is the fixed part of an Update Notification Acknowledgement
// (RFC 7077 section 4.2), from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |           Sequence #          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Status Code  |                   Reserved                    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type UpdateAck struct {
	Sequence uint16 // that of the notification
	Status   uint8  // 0 accepted; from 128 on refused
	Reserved [3]byte
}

func (u *UpdateAck) parse(b []byte) {
	u.Sequence, u.Status = binary.BigEndian.Uint16(b[6:]), b[8]
	u.Reserved = [3]byte(b[9:12])
}

func (u *UpdateAck) put(b []byte) {
	binary.BigEndian.PutUint16(b[6:], u.Sequence)
	b[8] = u.Status
	copy(b[9:12], u.Reserved[:])
}
