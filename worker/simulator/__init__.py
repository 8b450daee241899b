"""A local WeCom to develop and test against: the documented rules, faults on demand, a record of every delivery.

It shares no code with the client it is there to check. `process.running_simulator` starts one for a test or a
benchmark, `control.SimulatorControl` sets it up and asks it what happened, `service.run` serves until stopped.
"""
