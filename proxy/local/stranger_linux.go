package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// stranger says whether the other end of a connection within this machine is of another
// user, who is not root. Where the kernel knows no such socket, as of a host whose guest
// this is, it is not; but neither does it know one that is closed already.
func stranger(c net.Conn) bool {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	to, toErr := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil || toErr != nil {
		return false
	}
	uid, open, err := ownerOf(from, to)
	switch {
	case err != nil:
		return closed(c)
	case int(uid) == os.Getuid():
		return false
	}
	return uid != 0 || !open // what is closed is said to be root's
}

// closed says whether a connection's other end has ended it.
func closed(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	info, err := tcpInfo(raw)
	return err == nil && info.State != unix.BPF_TCP_ESTABLISHED
}

// ownerOf asks the kernel whose a TCP socket is, and whether it is open both ways
// (sock_diag(7); struct nlmsghdr, struct inet_diag_req_v2, struct inet_diag_msg).
func ownerOf(local, remote netip.AddrPort) (uid uint32, open bool, err error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false, err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return 0, false, err
	}
	const header, request, answer = unix.SizeofNlMsghdr, 56, 72
	b := make([]byte, header+request)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ask := b[header:]
	ask[0], ask[1] = unix.AF_INET, unix.IPPROTO_TCP
	if !local.Addr().Is4() {
		ask[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(ask[4:], 1<<32-1) // in whatever state
	binary.BigEndian.PutUint16(ask[8:], local.Port())
	binary.BigEndian.PutUint16(ask[10:], remote.Port())
	copy(ask[12:28], local.Addr().AsSlice())
	copy(ask[28:44], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(ask[48:], 1<<64-1) // no cookie
	if err := unix.Sendto(s, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, false, err
	}
	in := make([]byte, 4<<10)
	n, _, err := unix.Recvfrom(s, in, 0)
	if err != nil {
		return 0, false, err
	}
	if n < header+4 {
		return 0, false, errors.New("sock_diag: answer is cut off")
	}
	got := in[header:n]
	if kind := binary.NativeEndian.Uint16(in[4:]); kind != unix.SOCK_DIAG_BY_FAMILY || len(got) < answer {
		return 0, false, fmt.Errorf("sock_diag: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(got))))
	}
	return binary.NativeEndian.Uint32(got[64:]), got[1] == unix.BPF_TCP_ESTABLISHED, nil
}
