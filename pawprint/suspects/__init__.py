"""Pictures that a person should look at: likely wrong labels, pictures like no other, bad ones."""
