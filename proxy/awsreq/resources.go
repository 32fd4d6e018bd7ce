package awsreq

// Resources names the ARNs that a looked-up request acts upon.
func (t *Table) Resources(in *Input, r *Request) []string { return nil }
