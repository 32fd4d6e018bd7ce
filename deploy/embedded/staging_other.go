//go:build !linux

package embedded

// StageInMemory does nothing on this system: batches are staged on disk.
func (n *NATS) StageInMemory() error { return nil }

func (n *NATS) unstage() {}
