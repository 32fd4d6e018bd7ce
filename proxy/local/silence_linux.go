package local

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attend ends c, a connection to the proxy, once the other end is silent. The kernel's own
// bound (TCP_USER_TIMEOUT) would end one that takes nothing for now, too.
func (h *Helper) attend(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed
	}
	silent := 0
	var ask func()
	ask = func() {
		is, err := mute(raw, h.step)
		switch {
		case err != nil:
			return // it was closed
		case !is:
			silent = 0
		default:
			silent++
		}
		if silent < maxSilent {
			time.AfterFunc(h.step, ask)
			return
		}
		_ = c.SetDeadline(time.Unix(1, 0)) // fails where it was closed
		h.letGo()                          // they lead to the same machine, as a rule
	}
	time.AfterFunc(h.step, ask)
}

// mute says whether something that was sent waits for its acknowledgement, and none has
// come of anything for that long.
func mute(raw syscall.RawConn, since time.Duration) (bool, error) {
	info, err := tcpInfo(raw)
	if err != nil {
		return false, err
	}
	return info.Unacked > 0 && time.Duration(info.Last_ack_recv)*time.Millisecond >= since, nil
}

// tcpInfo is what the kernel knows of a connection (tcp(7)).
func tcpInfo(raw syscall.RawConn) (info *unix.TCPInfo, err error) {
	closed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(closed, err)
}
