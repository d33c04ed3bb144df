"""The run of a plan: what runs, in what order, under which key; and the record that it leaves."""
