#!/usr/bin/env bash
# Train on several machines of a Slurm cluster:  sbatch scripts/slurm.sh --data /data/GOPRO --run /shared/runs/madn
#
# One task on each machine, which takes all of its GPUs. The run folder must be one that all machines see. A job that
# was preempted or that lost a machine is queued again, and goes on from the newest checkpoint (--resume).
#SBATCH --job-name=madn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

PORT=${PORT:-23456}
export WORKERS
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$PORT\"/" | paste -sd, -)

# TF_CONFIG names all workers and which of them a task is. Exit code 2 is a fault of the command, the data or the disk,
# which another try would meet again: it leaves a mark, since srun passes on the highest code of all tasks.
export FAULT=$PWD/madn-fault-$SLURM_JOB_ID
rm -f "$FAULT"
srun --kill-on-bad-exit=1 bash -c '
  export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  python -m madn.train --strategy multiworker --resume "$@"
  code=$?
  [ $code -ne 2 ] || touch "$FAULT"
  exit $code' madn "$@"
code=$?

if [ $code -ne 0 ] && [ ! -e "$FAULT" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
rm -f "$FAULT"
exit $code
