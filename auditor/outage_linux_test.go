package auditor_test

import (
	"fmt"
	"syscall"
)

// mountSmall makes a directory a file system of its own, in memory.
func mountSmall(dir, size string) (unmount func(), err error) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	return func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }, nil
}
