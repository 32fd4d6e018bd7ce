package local

import (
	"net"

	"golang.org/x/sys/unix"
)

// attend has the kernel end c, a connection to the proxy, once the other end is silent.
func (h *Helper) attend(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) { // a kernel that doesn't know it goes on for longer
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, int(h.step.Seconds()*maxSilent))
	})
}
