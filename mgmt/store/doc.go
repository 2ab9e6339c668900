// Package store keeps the management node's records durably.
//
// A Store is a small map of records in kinds, changed by transactions that are
// atomic and durable when Apply returns. What a record means is the caller's
// business. Backends are sub-packages; storetest holds what each must pass.
package store
