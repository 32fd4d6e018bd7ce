package proxy

// Seq is the last ACCESS event that the proxy has applied.
func (p *Proxy) Seq() uint64 { return p.grants.Seq() }

// Running counts the calls that a lock would reach.
func (p *Proxy) Running() int { return p.grants.Stats().Running }
