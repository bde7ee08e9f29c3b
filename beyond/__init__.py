"""What goes beyond the lab: additions around a submission's model. Not part of the students' version."""
