package registration

// Names of the Count effects. They are stable labels; Counters lists them.
const (
	CountNotFromManagement     = "not_from_management"      // dropped: a message only the management node may send
	CountUnexpectedRole        = "unexpected_for_role"      // dropped: a message this role never takes
	CountUnauthenticated       = "unauthenticated"          // dropped: an answer or notice without valid authenticator
	CountRequestAuthFailed     = "request_auth_failed"      // Request refused with 146
	CountQuestionTooShort      = "question_too_short"       // no answer: it would be larger than its question
	CountRequestReplayMissing  = "request_replay_missing"   // 145
	CountRequestReplayMismatch = "request_replay_mismatch"  // 144
	CountRequestNotProxy       = "request_without_p"        // 131
	CountRequestNoVM           = "request_without_vm"       // 160
	CountRequestWindow         = "request_outside_window"   // 156
	CountRequestOlder          = "request_older"            // 157
	CountRequestSequence       = "request_sequence"         // 135
	CountRequestLocator        = "request_foreign_locator"  // 154: option 3 is not the sender
	CountRequestPrefix         = "request_malformed_prefix" // 141
	CountRequestOddPairs       = "request_odd_pairs"        // 159
	CountRequestFull           = "request_table_full"       // 130: MaxOpen or MaxOrders
	CountRequestAsked          = "request_asked"            // put to the caller
	CountRequestRepeated       = "request_repeated"         // answered with the cached Reply
	CountRequestInProgress     = "request_in_progress"      // repeated while its Answer is owed
	CountRequestForgotten      = "request_repeat_forgotten" // dropped: repeated, its Reply no longer cached
	CountAnswerUnknown         = "answer_unknown_handle"
	CountAnswerUnencodable     = "answer_unencodable" // sent as a bare 128

	CountRequestSent          = "request_sent"
	CountRequestRetransmitted = "request_retransmitted"
	CountRequestQueued        = "request_queued" // MaxOpen in flight to the peer
	CountRequestUnencodable   = "request_unencodable"
	CountPeerRefused          = "peer_refused" // Unreachable reported for a Request in flight

	CountReplyNotOutstanding = "reply_not_outstanding"    // dropped: its sequence number was not sent
	CountReplyOutdated       = "reply_refusal_outdated"   // dropped: a refusal of an older transmission
	CountReplyOtherVM        = "reply_other_vm"           // dropped
	CountReplyTimestamp      = "reply_timestamp_mismatch" // dropped: does not repeat the Request's
	CountReplyNonce          = "reply_nonce_mismatch"     // dropped
	CountReplyWithoutP       = "reply_without_p"          // accepted
	CountReplyLifetime       = "reply_lifetime_clamped"   // accepted: granted more than asked
	CountReplyClock          = "reply_clock_retry"        // 156, 157: sent again
	CountReplySequence       = "reply_sequence_retry"     // 135: sent again

	CountOffsetClamped = "clock_offset_clamped" // a step beyond MaxOffset

	CountHeartbeatSent           = "heartbeat_sent"
	CountHeartbeatAnswered       = "heartbeat_answered"
	CountHeartbeatMissed         = "heartbeat_missed"
	CountHeartbeatNotOutstanding = "heartbeat_not_outstanding" // dropped: a response to none of ours

	CountNoticeSent     = "notice_sent"
	CountNoticeAcked    = "notice_acked"
	CountNoticeUnknown  = "notice_ack_unknown" // dropped: an acknowledgement of none of ours
	CountNoticeStale    = "notice_stale"       // dropped: timestamp outside the window or not newer
	CountNoticeRepeated = "notice_repeated"    // acknowledged again
	CountNoticeFull     = "notice_table_full"  // not sent: MaxOpen notices unacknowledged
	CountNoticeInvalid  = "notice_invalid"     // dropped: no VM, or an unknown reason

	CountBindingErrorReceived = "binding_error_received" // changes nothing
	CountBindingErrorSent     = "binding_error_sent"
	CountBindingErrorLimited  = "binding_error_limited" // not sent: rate
)

// Counters lists every name that a Count may carry, so that metrics can be
// registered at zero.
func Counters() []string {
	return []string{
		CountNotFromManagement, CountUnexpectedRole, CountUnauthenticated, CountRequestAuthFailed,
		CountQuestionTooShort, CountRequestReplayMissing, CountRequestReplayMismatch, CountRequestNotProxy,
		CountRequestNoVM, CountRequestWindow, CountRequestOlder, CountRequestSequence, CountRequestLocator,
		CountRequestPrefix, CountRequestOddPairs, CountRequestFull, CountRequestAsked, CountRequestRepeated,
		CountRequestInProgress, CountRequestForgotten, CountAnswerUnknown, CountAnswerUnencodable,
		CountRequestSent, CountRequestRetransmitted, CountRequestQueued, CountRequestUnencodable, CountPeerRefused,
		CountReplyNotOutstanding, CountReplyOutdated, CountReplyOtherVM, CountReplyTimestamp, CountReplyNonce,
		CountReplyWithoutP, CountReplyLifetime, CountReplyClock, CountReplySequence, CountOffsetClamped,
		CountHeartbeatSent, CountHeartbeatAnswered, CountHeartbeatMissed, CountHeartbeatNotOutstanding,
		CountNoticeSent, CountNoticeAcked, CountNoticeUnknown, CountNoticeStale, CountNoticeRepeated,
		CountNoticeFull, CountNoticeInvalid,
		CountBindingErrorReceived, CountBindingErrorSent, CountBindingErrorLimited,
	}
}

func count(out []Effect, name string) []Effect { return append(out, Count{Name: name}) }
